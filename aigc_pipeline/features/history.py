"""Has the training role changed enough to train again? One new file must not retrain for hours."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from aigc_pipeline.data.shards import read_table, write_table

_FILE = "trained_on.arrow"


def write_samples(directory: Path, ids: Sequence[str], labels: Sequence[str]) -> None:
    """Remember which samples something was trained on, and as what: a corrected label is a change."""
    write_table(
        directory / _FILE, pa.table({"sample_id": pa.array(ids, pa.string()), "label": pa.array(labels, pa.string())})
    )


def copy_samples(source: Path, target: Path) -> None:
    """Carry the memory along: growth is counted from the last fit, not from the last run."""
    shutil.copy(source / _FILE, target / _FILE)


def has_hardly_changed(directory: Path, ids: Sequence[str], labels: Sequence[str], limit: float) -> bool:
    """Tell whether at most `limit` (a share of the old set) of samples came, went or changed their label since then."""
    file = directory / _FILE
    if not file.exists():
        return False
    table = read_table(file)
    before: dict[str, str] = dict(zip(table["sample_id"].to_pylist(), table["label"].to_pylist(), strict=True))
    now = dict(zip(ids, labels, strict=True))
    changed = sum(before.get(each) != now.get(each) for each in before.keys() | now.keys())
    return changed <= limit * len(before)
