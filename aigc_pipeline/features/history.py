"""Has the training role grown enough to train again? One new file must not retrain for hours."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from aigc_pipeline.data.shards import read_table, write_table

_IDS = "train_ids.arrow"


def write_ids(directory: Path, ids: Sequence[str]) -> None:
    """Remember which samples something was trained on."""
    write_table(directory / _IDS, pa.table({"sample_id": pa.array(sorted(ids), pa.string())}))


def copy_ids(source: Path, target: Path) -> None:
    """Carry the memory along: growth is counted from the last fit, not from the last run."""
    shutil.copy(source / _IDS, target / _IDS)


def has_hardly_grown(directory: Path, ids: Sequence[str], limit: float) -> bool:
    """Tell whether at most `limit` (a share of the old set) of samples came or went since `write_ids`."""
    file = directory / _IDS
    if not file.exists():
        return False
    before, now = set(read_table(file)["sample_id"].to_pylist()), set(ids)
    return len(before ^ now) <= limit * len(before)
