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


@dataclass(frozen=True)
class Trials:
    """Where the two manifests lie."""

    without: Path
    with_synthetic: Path


def write_trials(
    folder: Path,
    stored: Mapping[Role, pa.Table],
    synthetic: SyntheticRows,
    *,
    classes: Sequence[str],
    spec: SampleSpec,
) -> Trials:
    """Write `without/` and `with/` below `folder`, replacing what is there.

    Args:
        stored: real samples per role, with the columns `sample_id`, `uri`, `sha256`, `label` and `cell`.
    """
    without, treated = folder / "without", folder / "with"
    for each in (without, treated):
        shutil.rmtree(each, ignore_errors=True)
        each.mkdir(parents=True)
    names = tuple(classes)
    real = pa.concat_tables(
        [real_rows(stored[role], role, names, spec, without) for role in ROLES if len(stored.get(role, ()))]
    )
    for name in real["file_name"].to_pylist():
        if name is not None:
            _link(without / name, treated / name)
    added = synthetic_rows(synthetic.table, synthetic.cells, spec, treated, recommended=True, weight=synthetic.weight)
    both = pa.concat_tables([real, added], promote_options="default")
    return Trials(_finish(without, real, 0, names), _finish(treated, both, len(added), names))


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
