"""Published synthetic samples made again from their rows: weights, class, seed and parents are all that it takes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aigc_pipeline.core.context import Context, RuntimeConfig
from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.reporting import Reporter, Scalar
from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.core.store import Store
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.generators.conditions import as_json
from aigc_pipeline.generators.synthesis import CHUNK_SIZE, Order, Synthesizer
from aigc_pipeline.loading import open_synthesizer
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.publishing.lineage import Lineage, environment
from aigc_pipeline.publishing.manifest import read_rows
from aigc_pipeline.publishing.rows import encode_into
from aigc_pipeline.publishing.versions import resolve
from aigc_pipeline.records import Checkpoint, DatasetSplits, SynthesisPlan

_PART = 8 * CHUNK_SIZE
_ROUNDING = 1 + 1e-5
"""A difference of exactly the tolerance passes."""


@dataclass
class Rebuilt:
    """What became of a version's synthetic samples when they were made again, by sample id."""

    version: str
    exact: list[str] = field(default_factory=list)
    """The same bytes."""
    close: list[str] = field(default_factory=list)
    """Within the modality's tolerance: what another processor or library may round."""
    different: list[str] = field(default_factory=list)
    changed_environment: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Versions then and now, where they differ."""

    def row(self) -> dict[str, Scalar]:
        """Return the counts for a table."""
        return {
            "rebuilt": len(self.exact) + len(self.close) + len(self.different),
            "same bytes": len(self.exact),
            "within tolerance": len(self.close),
            "different": len(self.different),
        }


def rebuild(place: Path, samples: Sequence[str], out: Path | None, *, reporter: Reporter) -> Rebuilt:
    """Make synthetic samples of a published version again and compare them with what was published.

    Args:
        place: a workspace (its latest version) or a version directory.
        samples: ids or beginnings of ids; none means all.
        out: where to write what was made; nowhere by default.

    Raises:
        PublishError: if there is no version, or its lineage cannot be read.
        WorkspaceError: if the stages that it was made with are gone.
        CheckpointError: if the weights are gone, or are others.
        DataError: if `samples` names none, or a parent is in no role but test.
    """
    version = resolve(place)
    lineage = Lineage.read(version)
    context = Context(Store(lineage.workspace, read_only=True), lineage.seed, RuntimeConfig(), reporter)
    splits = lineage.record("splits", DatasetSplits)
    planned, checkpoint = lineage.record("planned", SynthesisPlan), lineage.record("checkpoint", Checkpoint)
    synthesizer = open_synthesizer(context, planned, splits, checkpoint)
    rows = _chosen(read_rows(version), samples, version)
    now = environment()
    result = Rebuilt(
        version.name,
        changed_environment={k: (then, now[k]) for k, then in lineage.environment.items() if now.get(k, then) != then},
    )
    with TemporaryDirectory(prefix="aigc-rebuild-") as temporary:
        for start in range(0, len(rows), _PART):
            part = rows.slice(start, _PART)
            cells, _ = synthesizer.make(list(_orders(part, synthesizer)))
            made = LabelledCells(part["sample_id"].to_pylist(), part["label"].to_numpy(), cells)
            _, hashes = encode_into(out or Path(temporary), made, splits.spec)
            _compare(part, made, hashes, version, splits.spec, result)
            reporter.progress("rebuild", start + len(part), len(rows))
    return result


def _chosen(rows: pa.Table, samples: Sequence[str], version: Path) -> pa.Table:
    """Return the synthetic rows that are named, in the order of the table."""
    synthetic = rows.filter(pc.not_equal(rows["origin"], "real"))
    if not samples:
        return synthetic
    ids = synthetic["sample_id"].to_pylist()
    if missing := [each for each in samples if not any(sample_id.startswith(each) for sample_id in ids)]:
        msg = f"{version.name} has no published synthetic sample {missing}. `aigc explain ID` says what became of a candidate."
        raise DataError(msg)
    return synthetic.take(pa.array([i for i, sample_id in enumerate(ids) if sample_id.startswith(tuple(samples))]))


def _orders(rows: pa.Table, synthesizer: Synthesizer) -> Iterator[Order]:
    place = {sample_id: row for row, sample_id in enumerate(synthesizer.parent_ids)}
    for row in rows.select(["sample_id", "label", "seed", "origin", "parent_ids", "condition"]).to_pylist():
        parents = row["parent_ids"] or []
        if gone := [each for each in parents if each not in place]:
            msg = f"sample {row['sample_id']} was made from {gone}, which no role but test holds."
            raise DataError(msg)
        parent = place[parents[0]] if parents else -1
        yield Order(row["label"], row["seed"], row["origin"], parent, _told(row, synthesizer))


def _told(row: Mapping[str, Any], synthesizer: Synthesizer) -> int:
    """Return what the networks were told: the label, or the row of its class and attributes."""
    conditions, label = synthesizer.conditions, int(row["label"])
    if conditions is None or row["condition"] is None:
        return label
    of_class = np.unique(conditions.of_class(label))
    return next(int(each) for each in of_class if as_json(conditions.rows[each]) == row["condition"])


def _compare(
    rows: pa.Table, made: LabelledCells, hashes: Sequence[str], version: Path, spec: SampleSpec, result: Rebuilt
) -> None:
    is_exact = np.array(hashes) == np.array(rows["sha256"].to_pylist())
    result.exact += [made.ids[i] for i in np.flatnonzero(is_exact)]
    unequal = np.flatnonzero(~is_exact)
    if not len(unequal):
        return
    published = _published_cells(rows.take(pa.array(unequal)), made.cells.type, version, spec)
    modality = modality_of(spec)
    views = zip(modality.views(made.cells.take(pa.array(unequal)), spec), modality.views(published, spec), strict=True)
    largest = np.max([np.abs(ours - theirs).max(1) for ours, theirs in views], axis=0)
    for i, difference in zip(unequal, largest, strict=True):
        is_close = difference <= modality.tolerance * _ROUNDING
        (result.close if is_close else result.different).append(made.ids[i])


def _published_cells(rows: pa.Table, kind: pa.DataType, version: Path, spec: SampleSpec) -> pa.Array:
    """Return the cells of published samples: decoded from their files, or as they stand in the table."""
    files = rows["file_name"].to_pylist()
    if None not in files:
        return modality_of(spec).decode([(version / name).read_bytes() for name in files], spec)
    inline = modality_of(spec).columns(pa.array([], kind), spec).column_names[0]
    return rows[inline].combine_chunks().cast(kind)
