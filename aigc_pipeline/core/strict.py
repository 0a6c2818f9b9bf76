"""Settings that a person writes: frozen, refusing unknown keys; and the digest by which they enter a fingerprint."""

import hashlib
import json
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen settings of finite numbers. An unknown key is an error that lists the offending path.

    Attribute docstrings become descriptions.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    def digest(self) -> str:
        """Return the sha256 of the canonical JSON of these settings: what enters a fingerprint."""
        return digest_of(self.model_dump(mode="json"))


class Member(Settings):
    """A member of a discriminated union (generator, gate, scorer, encoder, source): frozen settings with pure verbs."""

    handles: ClassVar[frozenset[str] | None] = None
    """The modalities this member can look inside; None means that it never looks inside a cell and handles any."""

    @classmethod
    def can_handle(cls, modality: str) -> bool:
        """Tell whether this member accepts samples of `modality`."""
        return cls.handles is None or modality in cls.handles


def digest_of(value: object) -> str:
    """Return the sha256 hex digest of a JSON-able value; keys sorted, so dict order never matters."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
