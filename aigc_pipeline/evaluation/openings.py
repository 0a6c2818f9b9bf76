"""Which question to the test role is this? History that spends the verdict's error probability.

A question is the k-th if the highest number that any of its test samples had so far is k - 1: one more file in the test role
does not make it a new test. All questions that reached one sample thus have different k, as have all along a set that grows
or moves on night by night, and their shares of alpha sum to at most alpha. A test role of new samples alone starts at 1.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from aigc_pipeline.core.context import Context
from aigc_pipeline.data.shards import read_table, write_table
from aigc_pipeline.records import EvalReport

_FILE = "openings.arrow"


def read_openings(context: Context, test_ids: Sequence[str]) -> dict[str, int]:
    """Return the number of the last question that each sample answered in this workspace, by sample id.

    A report from before stage version 4 counted by digest and names no samples: all its questions count for `test_ids`.
    """
    previous = context.previous(EvalReport)
    if previous is None:
        return {}
    file = context.files_of(previous) / _FILE
    if not file.exists():
        return dict.fromkeys(test_ids, sum(previous.test_openings.values()))
    table = read_table(file)
    return dict(zip(table["sample_id"].to_pylist(), table["opening"].to_pylist(), strict=True))


def next_opening(openings: Mapping[str, int], test_ids: Sequence[str]) -> int:
    """Return the number of a new question to these samples, at least 1."""
    return 1 + max(openings.get(each, 0) for each in test_ids)


def write_openings(directory: Path, openings: Mapping[str, int]) -> None:
    """Keep old and new numbers together: a sample that is gone today may come back."""
    write_table(
        directory / _FILE,
        pa.table(
            {
                "sample_id": pa.array(list(openings), pa.string()),
                "opening": pa.array(list(openings.values()), pa.int64()),
            }
        ),
    )
