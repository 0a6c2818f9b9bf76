"""A trial: a small folder like a published version that a training command reads. One without synthetic rows, one with.

Test and real rows are the same in both, so that synthetic rows alone differ. Real samples are encoded once; the second
folder links to them. A trial is neither sealed nor numbered: it is material of an evaluation, never a result.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from aigc_pipeline.core.samples import ROLES, Role, SampleSpec
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.publishing.manifest import METADATA_FILE, write_parquet
from aigc_pipeline.publishing.rows import real_rows, synthetic_rows

_README = (
    '`metadata.parquet` lists {num_real} real and {num_synthetic} synthetic samples; train on `split == "train"` with '
    'the column `weight`, predict `split == "test"`. Made for one evaluation; not a published version.\n'
)


@dataclass(frozen=True)
class SyntheticRows:
    """The synthetic rows of a trial."""

    table: pa.Table
    """Accepted candidates of the chosen mix, with the columns of `filtered.arrow`."""
    cells: LabelledCells
    """The same samples in the same order."""
    weight: float
    """Weight per row, beside real rows of weight 1; the importance weight multiplies it."""


def write_real(
    folder: Path, stored: Mapping[Role, pa.Table], *, classes: Sequence[str], spec: SampleSpec
) -> tuple[Path, pa.Table]:
    """Write the trial of real rows alone, replacing what is in `folder`; return its manifest and rows.

    Args:
        stored: real samples per role, with the columns `sample_id`, `uri`, `sha256`, `label` and `cell`.
    """
    _clear(folder)
    names = tuple(classes)
    rows = pa.concat_tables(
        [real_rows(stored[role], role, names, spec, folder) for role in ROLES if len(stored.get(role, ()))]
    )
    return _finish(folder, rows, 0, names), rows


def write_with_synthetic(
    folder: Path, real: Path, rows: pa.Table, synthetic: SyntheticRows, *, classes: Sequence[str], spec: SampleSpec
) -> Path:
    """Write the trial of real and synthetic rows, replacing what is in `folder`; return its manifest.

    Args:
        real: manifest of the trial of real rows alone.
        rows: its rows.
    """
    _clear(folder)
    for name in rows["file_name"].to_pylist():
        if name is not None:
            _link(real.parent / name, folder / name)
    added = synthetic_rows(synthetic.table, synthetic.cells, spec, folder, recommended=True, weight=synthetic.weight)
    both = pa.concat_tables([rows, added], promote_options="default")
    return _finish(folder, both, len(added), tuple(classes))


def _clear(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _finish(folder: Path, rows: pa.Table, num_synthetic: int, classes: tuple[str, ...]) -> Path:
    """Write manifest and README; return the manifest."""
    write_parquet(folder / METADATA_FILE, rows, classes)
    readme = _README.format(num_real=len(rows) - num_synthetic, num_synthetic=num_synthetic)
    (folder / "README.md").write_text(readme, encoding="utf-8")
    return folder / METADATA_FILE


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; copy it where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
