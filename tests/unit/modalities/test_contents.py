import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.data.shards import cells_to_numpy, read_shards, shard_file, write_table
from aigc_pipeline.modalities import VectorSpec
from aigc_pipeline.modalities.contents import decode_rows

SPEC = VectorSpec(num_values=2, scale=1.0)
NUM_ROWS, NUM_VALUES = 200, 25_000


@pytest.fixture
def contents(tmp_path) -> pa.ChunkedArray:
    """20 MB of vectors in two shards; row i begins with i, 2 i."""
    for shard, rows in enumerate(np.split(np.arange(NUM_ROWS, dtype=np.float32), 2)):
        values = np.outer(rows, np.arange(1, NUM_VALUES + 1, dtype=np.float32)).astype("<f4")
        table = pa.table({"content": pa.array([row.tobytes() for row in values], pa.large_binary())})
        write_table(shard_file(tmp_path, "raw", shard), table)
    return read_shards(tmp_path, "raw")["content"]


def test_cells_come_in_the_order_of_rows_across_shards(contents):
    rows = np.array([150, *range(90, 140), 0])
    cells = cells_to_numpy(decode_rows(contents, rows, SPEC), (2,))

    assert cells.tolist() == [[row, 2 * row] for row in rows]


def test_no_rows_are_no_cells(contents):
    assert len(decode_rows(contents, np.zeros(0, np.int64), SPEC)) == 0


def test_only_a_few_contents_are_in_memory_at_a_time(contents):
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    decode_rows(contents, np.arange(NUM_ROWS), SPEC)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < 0.3 * contents.nbytes
    assert pa.total_allocated_bytes() - before < 0.01 * contents.nbytes
