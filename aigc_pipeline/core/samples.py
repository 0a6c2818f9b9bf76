"""A sample before any modality has looked at it, and the least that every spec says about the samples it describes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["train", "calibration", "selection", "test"]
ROLES: tuple[Role, ...] = ("train", "calibration", "selection", "test")
HELD_BACK: tuple[Role, ...] = ("calibration", "selection")
"""Real samples that neither generator nor encoder see."""
Origin = Literal["real", "classic", "generated"]
Mix = Literal["generated", "classic", "both"]
"""Which synthetic rows: by the plan's method per class; varied real samples alone; or half of each."""


@dataclass(frozen=True, slots=True)
class RawSample:
    """One labelled sample as the source holds it.

    `content` is None when the source listed the sample but could not read it; `problem` then says why.
    """

    uri: str
    class_name: str
    content: bytes | None
    given_role: Role | None = None
    problem: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    """Further columns of the source's metadata: groups that outcomes are reported for."""


class SampleSpec(BaseModel):
    """What every stored sample of a dataset looks like. A modality adds its own fields; frozen into the checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample as a float tensor, without the batch axis."""
        raise NotImplementedError


def content_sha256(content: bytes) -> str:
    """Return the sha256 hex digest: the address of the content."""
    return hashlib.sha256(content).hexdigest()


def sample_id_of(sha256: str) -> str:
    """Return the sample id of a real sample: the first 32 hex digits of its content hash."""
    return sha256[:32]


def refused_id(uri: str, sha256: str) -> str:
    """Return the ledger id of a refused input: identical contents share a sample id, so its uri goes in."""
    return content_sha256(f"{uri}\x1f{sha256}".encode())[:32]


def synthetic_id(checkpoint: str, class_name: str, seed: int, parent_ids: Sequence[str] = ()) -> str:
    """Return the id of a synthetic sample: a pure function of what determines its content, so a re-run is idempotent.

    Args:
        checkpoint: the fingerprint of the generator: its weights, settings and spec.
    """
    return hashlib.sha256(":".join([checkpoint, class_name, str(seed), *parent_ids]).encode()).hexdigest()[:32]
