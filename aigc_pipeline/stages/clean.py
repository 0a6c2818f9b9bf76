"""Refuse what cannot be trained on, and find which samples are copies of each other before anything is split."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.samples import refused_id
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.data.shards import read_shards, write_table
from aigc_pipeline.features.clusters import near_duplicate_clusters
from aigc_pipeline.gates import (
    AnyCleaningGate,
    Constant,
    Duplicate,
    LabelConflict,
    Leakage,
    SizeLimits,
    apply_gates,
    count_reasons,
)
from aigc_pipeline.modalities import MODALITIES, modality_of
from aigc_pipeline.modalities.contents import decode_rows
from aigc_pipeline.records import CleanDataset, RawDataset

STAGE_VERSION = 6
_DEFAULT_GATES: tuple[AnyCleaningGate, ...] = (SizeLimits(), Constant(), LabelConflict(), Leakage(), Duplicate())


class CleanConfig(Settings):
    """What is refused, and how alike two samples must be to count as near duplicates."""

    gates: tuple[AnyCleaningGate, ...] | None = None
    """In order. None means all that handle the source's modality. Copies of one content that all of them keep are refused but
    for the first in any case: a sample is its content."""
    near_duplicate_tolerances: float = Field(default=13.0, ge=0)
    """Root-mean-square difference, in units of the modality's tolerance (1/255 for pictures), up to which two samples
    form a cluster. Clusters are kept, but never cut across splits. 13 is a copy with noise of 5 % of the range, the
    farthest that near-copy screening is meant to find. 0 clusters identical samples only."""


def clean(context: Context, config: CleanConfig, raw: RawDataset) -> CleanDataset:
    """Apply the gates and cluster near duplicates.

    Reads `raw-*.arrow`. Writes `kept.arrow` (sample_id, uri, sha256, class_name, given_role, attributes, cluster, row) and
    `ledger.arrow` (refused samples with their reason).

    Raises:
        DataError: if nothing or only one class is left.
    """
    table = read_shards(context.files_of(raw), "raw")
    gates = _DEFAULT_GATES if config.gates is None else (*config.gates, Duplicate())
    facts = table.drop_columns(["content"])
    reasons = apply_gates([gate for gate in gates if type(gate).can_handle(raw.modality)], facts)
    kept_rows = np.flatnonzero([reason is None for reason in reasons])
    kept = facts.take(pa.array(kept_rows))
    _refuse_too_little(kept, raw, reasons)
    spec = MODALITIES[raw.modality].fit(kept)
    clusters = near_duplicate_clusters(
        decode_rows(table["content"], kept_rows, spec),
        spec,
        limit=config.near_duplicate_tolerances * modality_of(spec).tolerance,
    )
    if (note := _disagreeing(kept, clusters)) is not None:
        context.reporter.note(note)
    columns = ["sample_id", "uri", "sha256", "class_name", "given_role", "attributes"]
    write_table(
        context.out / "kept.arrow",
        kept.select(columns).append_column("cluster", pa.array(clusters)).append_column("row", pa.array(kept_rows)),
    )
    write_table(context.out / "ledger.arrow", _ledger(facts, reasons))
    classes = tuple(sorted(set(kept["class_name"].to_pylist())))
    if lost := [name for name in raw.classes if name not in classes]:
        refused = count_reasons(
            [reason for reason, name in zip(reasons, facts["class_name"].to_pylist(), strict=True) if name in lost]
        )
        context.reporter.note(f"nothing is left of {', '.join(map(repr, lost))}: all samples were refused ({refused}).")
    return context.record(
        CleanDataset,
        modality=raw.modality,
        classes=classes,
        num_in=len(table),
        num_kept=len(kept),
        rejected=count_reasons(reasons),
        num_clusters=len(set(clusters.tolist())),
    )


def _disagreeing(kept: pa.Table, clusters: NDArray[np.int64]) -> str | None:
    """Return a note on near duplicates of several classes, with an example; None where there are none."""
    members = kept.select(["uri", "class_name"]).append_column("cluster", pa.array(clusters)).to_pandas()
    mixed = members[members.groupby("cluster")["class_name"].transform("nunique") > 1]
    if mixed.empty:
        return None
    first = mixed[mixed["cluster"] == mixed["cluster"].iloc[0]].drop_duplicates("class_name")["uri"].tolist()
    return (
        f"{mixed['cluster'].nunique():,} clusters of near duplicates have more than one class, for example "
        f"{' and '.join(map(repr, first[:2]))}. All are kept: correct the labels at the source, or remove the wrong ones."
    )


def _ledger(table: pa.Table, reasons: Sequence[str | None]) -> pa.Table:
    """Return the refused rows. Identical contents share a sample id, so each refused one gets an id from its uri."""
    rows = [row for row, reason in enumerate(reasons) if reason is not None]
    refused = table.select(["sample_id", "uri", "sha256", "class_name"]).take(pa.array(rows, pa.int64()))
    ids = [
        refused_id(uri, sha256)
        for uri, sha256 in zip(refused["uri"].to_pylist(), refused["sha256"].to_pylist(), strict=True)
    ]
    kinds = [reasons[row] for row in rows]
    twins = [
        sample_id if kind == "duplicate" else None
        for sample_id, kind in zip(refused["sample_id"].to_pylist(), kinds, strict=True)
    ]
    return (
        refused.drop_columns(["sample_id"])
        .append_column("sample_id", pa.array(ids, pa.string()))
        .append_column("duplicate_of", pa.array(twins, pa.string()))
        .append_column("reason", pa.array(kinds, pa.string()))
    )


def _refuse_too_little(kept: pa.Table, raw: RawDataset, reasons: Sequence[str | None]) -> None:
    classes = sorted(set(kept["class_name"].to_pylist()))
    if len(classes) >= 2:
        return
    found = f"only the class '{classes[0]}'" if classes else "no usable sample"
    msg = (
        f"{raw.source} has {found} after cleaning (refused: {count_reasons(reasons) or 'none'}). The referee and the "
        "uplift test compare classes, so at least two are needed: one sub-folder per class."
    )
    raise DataError(msg)
