"""What was trained on what, with which settings, and whether it still serves: one new file must not retrain for hours."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.records import Record
from aigc_pipeline.data.shards import read_table, write_table

_FILE, _SETTINGS = "trained_on.arrow", "settings.txt"
R = TypeVar("R", bound=Record)


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


def write_settings(directory: Path, settings: str) -> None:
    """Remember what, beside the samples, something trained depends on."""
    (directory / _SETTINGS).write_text(settings, encoding="utf-8")


def earlier_fits(context: Context, record_type: type[R], settings: str) -> Iterator[R]:
    """Yield what the running stage committed in this workspace with these settings, the last one first."""
    for each in context.earlier(record_type):
        if (context.files_of(each) / _SETTINGS).read_text(encoding="utf-8") == settings:
            yield each


def last_serving(
    context: Context, fits: Iterable[R], ids: Sequence[str], labels: Sequence[str], limit: float
) -> R | None:
    """Return the first of the fits that these samples have hardly changed since."""
    return next((each for each in fits if has_hardly_changed(context.files_of(each), ids, labels, limit)), None)
