"""What a modality is: the one place that looks inside a cell. Everything else sees specs, cells, features, columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from aigc_pipeline.core.samples import SampleSpec

S = TypeVar("S", bound=SampleSpec)
FloatArray = NDArray[np.float32]
Facts = Mapping[str, str | int | float | bool]
Variation = dict[str, Tensor]
"""One draw of label-safe variation for n samples: named tensors whose first axis is n."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Why a sample cannot be used: a stable code and a sentence with the offending value."""

    code: str
    message: str


class Modality(Protocol[S]):
    """The verbs of one kind of sample. `image` and `vector` are the two members of the first day."""

    kind: ClassVar[str]
    extensions: ClassVar[frozenset[str]]
    """File endings that a folder source takes, lower case with the dot."""
    folder: ClassVar[str]
    """Where a published version keeps encoded samples."""
    suffix: ClassVar[str]
    """File ending of an encoded sample."""
    tolerance: ClassVar[float]
    """Largest difference per value, in the units of `views`, that another machine may show on rebuild."""

    def inspect(self, content: bytes) -> Facts | Reject:
        """Decode fully; return facts (they become ledger columns) or the reason why not."""
        ...

    def fit(
        self, facts: pa.Table, *, size: int | None = None, symmetries: tuple[str, ...] = (), keep_alpha: bool = False
    ) -> S:
        """Choose the spec from the facts of the training split alone; the rest is the user's word.

        Raises:
            ConfigError: if the user's word means nothing for this modality.
        """
        ...

    def decode(self, contents: Sequence[bytes], spec: S) -> pa.Array:
        """Turn file contents into cells."""
        ...

    def to_tensor(self, cells: pa.Array, spec: S) -> Float[Tensor, "n *shape"]:
        """Turn cells into float32 in the networks' range; `from_tensor` inverts it exactly on cells."""
        ...

    def from_tensor(self, x: Float[Tensor, "n *shape"], spec: S) -> pa.Array:
        """Turn network output into cells: what will be stored, and therefore what is scored."""
        ...

    def views(self, cells: pa.Array, spec: S) -> Iterator[FloatArray]:
        """Yield `[n, d]` arrays: the samples as they are (what no shift would lose of them), then harmless shifts.

        The smallest root-mean-square difference over views IS the near-copy distance, in the units of `tolerance`.
        """
        ...

    def encode(self, cells: pa.Array, spec: S) -> list[bytes] | None:
        """Return file contents, or None where a sample lives inline in the table."""
        ...

    def columns(self, cells: pa.Array, spec: S) -> pa.Table:
        """Return this modality's manifest columns, one row per cell."""
        ...

    def html(self, cells: pa.Array, spec: S) -> list[str]:
        """Return how a page shows each sample: a self-contained HTML fragment."""
        ...

    def grid(self, cells: pa.Array, spec: S, columns: int) -> bytes | None:
        """Return a PNG of the samples in rows of `columns`, for progress; None where a picture makes no sense."""
        ...

    def network(self, spec: S, out_features: int, *, is_large: bool = False) -> nn.Module:
        """Return a network `[n, *shape] -> [n, out_features]`: encoder, referee, downstream model.

        The small one suits a CPU; the large one a GPU. Neither has batch statistics.
        """
        ...

    def draw_variation(
        self, num_samples: int, generator: torch.Generator, spec: S, *, strength: float = 1.0
    ) -> Variation:
        """Draw label-safe variation (geometry within the spec's symmetries) for `num_samples` samples.

        Args:
            strength: how far it goes, in (0, 1]; mirroring is whole at any.
        """
        ...

    def vary(
        self, x: Float[Tensor, "n *shape"], variation: Variation, spec: S, *, is_sharp: bool = False
    ) -> Float[Tensor, "n *shape"]:
        """Apply a draw. The same draw on the same samples gives the same result.

        Args:
            is_sharp: lose as little detail as can be, at some cost: for samples that are stored and varied again later.
        """
        ...
