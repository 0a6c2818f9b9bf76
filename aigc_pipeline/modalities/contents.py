"""Stored contents to cells, a few rows at a time: contents are larger than their cells, and all at once fill the memory."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.modalities import modality_of

_BLOCK_ROWS = 32


def decode_rows(contents: pa.ChunkedArray, rows: NDArray[np.int64], spec: SampleSpec) -> pa.Array:
    """Return the cells of `rows`, in that order.

    Args:
        contents: a memory-mapped column of file contents. `take` would copy all of it.
    """
    modality = modality_of(spec)
    blocks = [rows[start : start + _BLOCK_ROWS] for start in range(0, max(len(rows), 1), _BLOCK_ROWS)]
    return pa.concat_arrays([modality.decode([contents[int(row)].as_py() for row in block], spec) for block in blocks])
