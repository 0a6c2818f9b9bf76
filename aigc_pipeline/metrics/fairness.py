"""Who gains and who is left out: acceptance by the filter and recall on test, per class and per metadata attribute.

A candidate has the attributes of the real sample it is made from; else those that its generator was told; else those of
its nearest real training sample. Groups are looked at one by one: neither the interval nor the standard errors are corrected for their number.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.data.loader import Attributes
from aigc_pipeline.metrics.memorisation import wilson_interval
from aigc_pipeline.metrics.verdict import paired_difference
from aigc_pipeline.records import CLASS, GroupOutcome

OTHER = "(other values)"
STARVED = "starved"
"""The first word of a warning that the filter refuses too many of a group."""
MAX_GROUPS = 20
"""Values shown per attribute; rarer ones are taken together."""
_PASSED = (None, "class_quota")
_MIN_SHARE = 0.8  # the four-fifths rule of the US Uniform Guidelines on Employee Selection (1978), §4D
_MAX_ERRORS = 2.0
_MIN_TEST = 10
Correct = NDArray[np.bool_]


def group_outcomes(
    candidates: pa.Table,
    real_attributes: Mapping[str, Attributes],
    test_attributes: Sequence[Attributes],
    test_labels: NDArray[np.int64],
    class_names: Sequence[str],
    baseline: Correct,
    treated: Correct | None,
) -> tuple[GroupOutcome, ...]:
    """Return one outcome per class, then one per value of each attribute, the largest groups first.

    `accepted` counts candidates that passed every check of their own: one that is over quota is not starved. Acceptance is
    compared with what the group's share of generated and of varied candidates, and of those that the critic judges, would get overall:
    few varied ones are refused, and of judged ones about half by design. A column whose values are nearly all different names samples, not groups, and is left out.

    Args:
        candidates: columns `label`, `origin`, `parent_ids`, `nearest_train_id`, `reject_reason`, and `accept_probability` and `condition` if any.
        real_attributes: sample id to attributes of all that candidates are made from; ids without attributes may be missing.
        test_attributes: attributes per test item.
        test_labels: class index per test item, `[items]`.
        baseline: correct or not without synthetic samples, `[seeds, items]`.
        treated: the same with them, paired by seed; None where nothing was accepted.
    """
    filtered = _Filtered.of(candidates)
    tested = _Tested(baseline, treated)
    outcomes = [
        _outcome(CLASS, name, filtered, candidates["label"].to_numpy() == k, tested, test_labels == k)
        for k, name in enumerate(class_names)
    ]
    own = _attributes_of(candidates, real_attributes)
    for attribute in sorted({name for each in (*own, *test_attributes) for name in each}):
        made = [each.get(attribute) for each in own]
        seen = [each.get(attribute) for each in test_attributes]
        sizes = Counter(each.get(attribute) for each in (*real_attributes.values(), *test_attributes))
        title = f"{attribute} (column)" if attribute == CLASS else attribute
        for group, values in _groups(sizes):
            mine = np.array([value in values for value in made], bool)
            items = np.array([value in values for value in seen], bool)
            outcomes.append(_outcome(title, group, filtered, mine, tested, items))
    return tuple(outcomes)


def _attributes_of(candidates: pa.Table, real: Mapping[str, Attributes]) -> list[Attributes]:
    """Return the attributes that each candidate counts for."""
    parents, nearest = candidates["parent_ids"].to_pylist(), candidates["nearest_train_id"].to_pylist()
    return [
        real.get(ids[0], {}) if ids else {**real.get(near or "", {}), **told}
        for ids, told, near in zip(parents, _told(candidates), nearest, strict=True)
    ]


def _told(candidates: pa.Table) -> list[Attributes]:
    """Return the attributes that the generator was told about each candidate."""
    if "condition" not in candidates.column_names:
        return [{}] * len(candidates)
    return [json.loads(text) if text else {} for text in candidates["condition"].to_pylist()]


def _groups(sizes: Counter[str | None]) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield the name of each group and the values in it, the largest first."""
    known = Counter({value: n for value, n in sizes.items() if value is not None})
    if len(known) > MAX_GROUPS and 2 * len(known) > known.total():
        return
    values = sorted(known, key=lambda value: (-known[value], value))
    for value in values[:MAX_GROUPS]:
        yield value, frozenset({value})
    if values[MAX_GROUPS:]:
        yield OTHER, frozenset(values[MAX_GROUPS:])


@dataclass(frozen=True)
class _Filtered:
    """What passed, and what was to be expected of each candidate by how it was made."""

    passed: NDArray[np.bool_]
    expected: NDArray[np.float64]

    @classmethod
    def of(cls, candidates: pa.Table) -> "_Filtered":
        passed = np.array([reason in _PASSED for reason in candidates["reject_reason"].to_pylist()], bool)
        origins = np.array(candidates["origin"].to_pylist(), object)
        is_judged = np.zeros(len(passed), bool)
        if "accept_probability" in candidates.column_names:
            is_judged = ~np.isnan(candidates["accept_probability"].to_numpy())
        expected = np.zeros(len(passed))
        for origin in set(origins.tolist()):
            for alike in ((origins == origin) & is_judged, (origins == origin) & ~is_judged):
                expected[alike] = passed[alike].mean() if alike.any() else 0.0
        return cls(passed, expected)

    def warning(self, mine: NDArray[np.bool_]) -> str | None:
        """Return a sentence where acceptance is under four fifths of the expected, and not by chance."""
        if not mine.any():
            return None
        share, expected = float(self.passed[mine].mean()), float(self.expected[mine].mean())
        low, high = wilson_interval(int(self.passed[mine].sum()), int(mine.sum()))
        if share >= _MIN_SHARE * expected or high >= expected:
            return None
        return f"{STARVED}: {share:.0%} pass (interval {low:.0%} to {high:.0%}) where {expected:.0%} is usual"


@dataclass(frozen=True)
class _Tested:
    """Correctness on test, without and with synthetic samples."""

    baseline: Correct
    treated: Correct | None

    def recalls(self, items: NDArray[np.bool_]) -> tuple[float | None, float | None]:
        """Return the share of a group's items that is recognised, without and with."""
        if not items.any():
            return None, None
        treated = None if self.treated is None else float(self.treated[:, items].mean())
        return float(self.baseline[:, items].mean()), treated

    def warning(self, items: NDArray[np.bool_]) -> str | None:
        """Return a sentence where recall falls by more than two standard errors over seeds and items."""
        if self.treated is None or items.sum() < _MIN_TEST:
            return None
        one_group = np.zeros(int(items.sum()), np.int64)
        delta, error, _ = paired_difference(self.baseline[:, items], self.treated[:, items], one_group)
        if delta >= -_MAX_ERRORS * error:
            return None
        return f"recall falls by {-100 * delta:.1f} points (standard error {100 * error:.1f})"


def _outcome(
    attribute: str,
    group: str,
    filtered: _Filtered,
    mine: NDArray[np.bool_],
    tested: _Tested,
    items: NDArray[np.bool_],
) -> GroupOutcome:
    without, with_synthetic = tested.recalls(items)
    warnings = [warning for warning in (filtered.warning(mine), tested.warning(items)) if warning]
    return GroupOutcome(
        attribute=attribute,
        group=group,
        candidates=int(mine.sum()),
        accepted=int(filtered.passed[mine].sum()),
        test_samples=int(items.sum()),
        recall_baseline=without,
        recall_with_synthetic=with_synthetic,
        warning="; ".join(warnings) or None,
    )
