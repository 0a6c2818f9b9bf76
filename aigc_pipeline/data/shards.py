"""Arrow IPC files of samples, one cell a row, and how work over them is cut into shards.

Cells wait in IPC files because fixed-size lists cost 38 times the write time in Parquet and cannot be memory-mapped.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.errors import WorkspaceError
from aigc_pipeline.core.store import sync


@dataclass(frozen=True, slots=True)
class Shard:
    """Rows `start` (inclusive) to `stop` (exclusive) of some ordered collection."""

    index: int
    start: int
    stop: int

    @property
    def num_rows(self) -> int:
        """Rows in this shard."""
        return self.stop - self.start


def plan_shards(num_rows: int, shard_rows: int) -> list[Shard]:
    """Cut `num_rows` into consecutive shards of at most `shard_rows`; no shard is empty."""
    return [
        Shard(index, start, min(start + shard_rows, num_rows))
        for index, start in enumerate(range(0, num_rows, shard_rows))
    ]


def write_table(file: Path, table: pa.Table) -> None:
    """Write an IPC file so that it exists whole or not at all: a finished shard is never run again."""
    temporary = file.with_name(f".{file.name}.tmp")
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    sync(temporary)
    os.replace(temporary, file)  # noqa: PTH105 - Path.replace is the same call; os keeps the pair with fsync readable


def read_table(file: Path) -> pa.Table:
    """Memory-map an IPC file; columns are read when touched.

    Raises:
        WorkspaceError: if the file is gone or cut off; says which folder to remove.
    """
    try:
        with pa.memory_map(str(file), "r") as source:
            return pa.ipc.open_file(source).read_all()
    except (OSError, pa.ArrowInvalid) as err:
        msg = f"cannot read {file}: {err}. Remove its folder {file.parent} and run again: the stage is then computed anew."
        raise WorkspaceError(msg) from err


def read_shards(directory: Path, stem: str) -> pa.Table:
    """Read `<stem>-00000.arrow`, `<stem>-00001.arrow`, ... as one table, in shard order."""
    return pa.concat_tables([read_table(file) for file in sorted(directory.glob(f"{stem}-*.arrow"))])


def shard_file(directory: Path, stem: str, index: int) -> Path:
    """Return the file of shard `index`."""
    return directory / f"{stem}-{index:05d}.arrow"


def cells_from_numpy(values: NDArray[np.generic]) -> pa.FixedSizeListArray:
    """Turn `[n, ...]` into n cells: fixed-size lists of the same dtype, C order."""
    flat = np.ascontiguousarray(values).reshape(len(values), math.prod(values.shape[1:]))
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.reshape(-1)), flat.shape[1])


def cells_to_numpy(cells: pa.Array | pa.ChunkedArray, shape: tuple[int, ...]) -> NDArray[np.generic]:
    """Return cells as `[n, *shape]` of their own dtype, without copying where Arrow allows."""
    array = cells.combine_chunks() if isinstance(cells, pa.ChunkedArray) else cells
    return np.asarray(array.flatten()).reshape(len(array), *shape)
