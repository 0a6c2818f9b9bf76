"""Apply the gates in order; every candidate keeps its numbers, its verdict and the first reason against it."""

from collections import Counter

import pyarrow as pa

from aigc_pipeline.core.context import Context
from aigc_pipeline.data.shards import read_table, write_table
from aigc_pipeline.gates import ClassQuota, FilterPolicy, apply_gates, count_reasons
from aigc_pipeline.records import FilteredSet, Judge, ScoredSet, SynthesisPlan

STAGE_VERSION = 1
QUOTA = ClassQuota().kind


class FilterConfig(FilterPolicy):
    """The gates that candidates pass, in order."""


def filter_candidates(
    context: Context, config: FilterConfig, planned: SynthesisPlan, judge: Judge, scored: ScoredSet
) -> FilteredSet:
    """Write `filtered.arrow`: `scored.arrow` plus `class_want`, `accepted` and `reject_reason`."""
    table = read_table(context.files_of(scored) / "scored.arrow")
    want = planned.want()
    names = table["class_name"].to_pylist()
    table = table.append_column("class_want", pa.array([want[name] for name in names], pa.int64()))
    reasons = apply_gates([*config.gates, ClassQuota()], table)
    table = table.append_column("accepted", pa.array([reason is None for reason in reasons]))
    write_table(context.out / "filtered.arrow", table.append_column("reject_reason", pa.array(reasons, pa.string())))
    kept = Counter(name for name, reason in zip(names, reasons, strict=True) if reason is None)
    shortfall = {name: want[name] - kept[name] for name in want if kept[name] < want[name]}
    by_probability = any(gate.kind in {"rejection_sampling", "min_p_real"} for gate in config.gates)
    _tell(context, want, kept, count_reasons(reasons), shortfall)
    return context.record(
        FilteredSet,
        num_in=len(table),
        num_kept=kept.total(),
        rejected=count_reasons(reasons),
        kept_by_class={name: kept[name] for name in want},
        shortfall=shortfall,
        filtered_by_probability=by_probability and judge.healthy and judge.critic_mode != "none",
    )


def _tell(
    context: Context, want: dict[str, int], kept: Counter[str], rejected: dict[str, int], shortfall: dict[str, int]
) -> None:
    context.reporter.table("accepted", [{"class": name, "want": want[name], "accepted": kept[name]} for name in want])
    context.reporter.table("rejected", [{"reason": reason, "candidates": n} for reason, n in rejected.items()])
    for name, missing in shortfall.items():
        context.reporter.note(
            f"class '{name}' is {missing} of {want[name]} short: its candidates did not pass the gates."
        )
