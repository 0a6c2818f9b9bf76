"""Views of cells, block by block: shifted copies of a whole dataset would not fit in memory."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.modalities import modality_of

_BLOCK_ROWS = 256
FloatArray = NDArray[np.float32]


def view_blocks(cells: pa.Array, spec: SampleSpec) -> Iterator[list[FloatArray]]:
    """Yield, for consecutive blocks of rows, the modality's views: `[rows, d]` each, the first as is."""
    for start in range(0, len(cells), _BLOCK_ROWS):
        yield list(modality_of(spec).views(cells.slice(start, _BLOCK_ROWS), spec))


def first_view(cells: pa.Array, spec: SampleSpec) -> FloatArray:
    """Return the samples as they are, `[n, d]`, in the units near-copy distances are measured in."""
    starts = range(0, max(1, len(cells)), _BLOCK_ROWS)
    return np.concatenate([next(modality_of(spec).views(cells.slice(start, _BLOCK_ROWS), spec)) for start in starts])
