"""Apply the gates in order; every candidate keeps its numbers, its verdict and the first reason against it."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.reporting import Scalar
from aigc_pipeline.data.shards import read_table, write_table
from aigc_pipeline.gates import BY_PROBABILITY, ClassQuota, FilterPolicy, ImportanceWeights, apply_gates, count_reasons
from aigc_pipeline.records import FilteredSet, Judge, ScoredSet, SynthesisPlan
from aigc_pipeline.scorers.acceptance import acceptance_probability, solve_acceptance

STAGE_VERSION = 4
_NOTED = 5  # classes that are short


class FilterConfig(FilterPolicy):
    """The gates that candidates pass, in order."""


def filter_candidates(
    context: Context, config: FilterConfig, planned: SynthesisPlan, judge: Judge, scored: ScoredSet
) -> FilteredSet:
    """Write `filtered.arrow`: `scored.arrow` plus `class_want`, `accepted`, `reject_reason` and `importance_weight`."""
    table = read_table(context.files_of(scored) / "scored.arrow")
    want = planned.want()
    names = table["class_name"].to_pylist()
    table = table.append_column("class_want", pa.array([want[name] for name in names], pa.int64()))
    reasons = apply_gates([*config.gates, ClassQuota()], table)
    table = table.append_column("accepted", pa.array([reason is None for reason in reasons], pa.bool_()))
    table = table.append_column("reject_reason", pa.array(reasons, pa.string()))
    weights = importance_weights(table, config.importance)
    write_table(context.out / "filtered.arrow", table.append_column("importance_weight", pa.array(weights)))
    kept = Counter(name for name, reason in zip(names, reasons, strict=True) if reason is None)
    shortfall = _shortfall(table, planned)
    by_probability = any(gate.kind in BY_PROBABILITY for gate in config.gates)
    _tell(context, accepted_rows(table, want), want, count_reasons(reasons), shortfall)
    return context.record(
        FilteredSet,
        num_in=len(table),
        num_kept=kept.total(),
        rejected=count_reasons(reasons),
        kept_by_class={name: kept[name] for name in want},
        shortfall=shortfall,
        filtered_by_probability=by_probability and judge.filters_by_probability,
    )


def importance_weights(table: pa.Table, settings: ImportanceWeights | None) -> NDArray[np.float32]:
    """Return, per candidate, min(c ratio ** power, largest weight), 1 on average over the accepted of a class.

    1 where the critic may not be trusted.
    """
    weights = np.ones(len(table), np.float32)
    if settings is None:
        return weights
    log_ratio, labels = table["log_density_ratio"].to_numpy(), table["label"].to_numpy()
    is_trusted = ~np.isnan(table["accept_probability"].to_numpy())
    accepted = table["accepted"].to_numpy(zero_copy_only=False) & is_trusted
    for label in np.unique(labels[accepted]):
        rows = np.flatnonzero(accepted & (labels == label))
        raw = np.exp(settings.power * log_ratio[rows])
        constant = np.full(len(rows), solve_acceptance(raw, 1 / settings.max_weight))
        weights[rows] = settings.max_weight * acceptance_probability(raw, constant)
    return weights


def _shortfall(table: pa.Table, planned: SynthesisPlan) -> dict[str, int]:
    """Return wanted minus accepted per class, counted over the plan's own method."""
    origin = {each.class_name: each.origin for each in planned.classes}
    rows = zip(*(table[name].to_pylist() for name in ("class_name", "origin", "accepted")), strict=True)
    kept = Counter(name for name, made, accepted in rows if accepted and made == origin[name])
    return {name: want - kept[name] for name, want in planned.want().items() if kept[name] < want}


def accepted_rows(table: pa.Table, want: Mapping[str, int]) -> list[dict[str, Scalar]]:
    """Return per class what is wanted and what was accepted of each kind: either kind may fill the places alone."""
    rows = zip(*(table[name].to_pylist() for name in ("class_name", "origin", "accepted")), strict=True)
    kept = Counter((name, origin) for name, origin, accepted in rows if accepted)
    return [
        {"class": name, "want": n, "generated": kept[name, "generated"], "varied": kept[name, "classic"]}
        for name, n in want.items()
    ]


def _tell(
    context: Context,
    accepted: Sequence[Mapping[str, Scalar]],
    want: Mapping[str, int],
    rejected: Mapping[str, int],
    shortfall: Mapping[str, int],
) -> None:
    context.reporter.table("accepted", accepted)
    context.reporter.table("rejected", [{"reason": reason, "candidates": n} for reason, n in rejected.items()])
    for name, missing in list(shortfall.items())[:_NOTED]:
        context.reporter.note(
            f"class '{name}' is {missing} of {want[name]} short of what its method was to make: not enough candidates "
            "passed the gates."
        )
    if len(shortfall) > _NOTED:
        context.reporter.note(f"{len(shortfall) - _NOTED:,} further classes are short, too: see the report.")
