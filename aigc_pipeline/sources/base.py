"""Where labelled samples come from. A source lists cheaply, reads lazily, and is never written to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from aigc_pipeline.core.samples import RawSample


@dataclass(frozen=True, slots=True)
class Listing:
    """What a source offers at this moment. An equal digest means that nothing needs to be read again."""

    num_listed: int
    digest: str
    """sha256 over names, sizes and modification times (or over the settings, where the source is computed)."""
    uri: str
    """The source in one line, for people."""


class Source(Protocol):
    """A member of `AnySource`: frozen settings with two verbs."""

    @property
    def kind(self) -> str:
        """The word that picks this member in a config."""
        ...

    @property
    def modality(self) -> str:
        """The kind of sample it yields."""
        ...

    def listing(self) -> Listing:
        """Look at the source without reading contents.

        Raises:
            SourceError: if there is nothing to take: no folder, no class, no sample.
        """
        ...

    def records(self) -> Iterator[RawSample]:
        """Yield every listed sample in a stable order; one that cannot be read comes with its `problem`."""
        ...
