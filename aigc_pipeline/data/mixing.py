"""Which accepted rows a mix takes. Generated and varied rows of a class share one budget: what the plan wants of it."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.samples import Mix


def mixes(table: pa.Table) -> tuple[Mix, ...]:
    """Return the mixes that a table of accepted rows can give; the plan's own comes first."""
    origins = set(table["origin"].to_pylist())
    if origins == {"classic"}:
        return ("classic",)
    classes = [set(table["label"].to_numpy()[_has_origin(table, origin)].tolist()) for origin in sorted(origins)]
    return ("generated", "classic", "both") if len(classes) > 1 and set.intersection(*classes) else ("generated",)


def chosen_rows(candidates: pa.Table, mix: Mix, labels: Sequence[int] | None = None) -> NDArray[np.int64]:
    """Return the rows of all candidates that are accepted and that the mix takes, in order.

    Args:
        candidates: as for `mixed_rows`, accepted or not, with `accepted`.
        labels: classes to take; all by default.
    """
    accepted = np.flatnonzero(candidates["accepted"].to_numpy(zero_copy_only=False))
    return accepted[mixed_rows(candidates.take(pa.array(accepted)), mix, labels)].astype(np.int64)


def mixed_rows(table: pa.Table, mix: Mix, labels: Sequence[int] | None = None) -> NDArray[np.int64]:
    """Return row numbers, in order.

    Args:
        table: accepted candidates with `label`, `origin` and `class_want`.
        labels: classes to take; all by default.
    """
    own, want = table["label"].to_numpy(), table["class_want"].to_numpy()
    is_generated = _has_origin(table, "generated")
    chosen = [np.zeros(0, np.int64)]
    for label in np.unique(own) if labels is None else np.unique(np.array(labels, np.int64)):
        generated, varied = (np.flatnonzero((own == label) & side) for side in (is_generated, ~is_generated))
        budget = int(want[own == label].max(initial=0))
        number = _number_generated(mix, len(generated), len(varied), budget)
        is_left_out = mix == "generated" and len(generated) > 0
        chosen += [generated[:number], varied[: 0 if is_left_out else budget - number]]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def _number_generated(mix: Mix, num_generated: int, num_varied: int, budget: int) -> int:
    if mix == "generated":
        return min(num_generated, budget)
    if mix == "classic":
        return 0  # even where a class has no varied row: this mix is published without screen and critic
    return min(num_generated, max((budget + 1) // 2, budget - num_varied))


def _has_origin(table: pa.Table, origin: str) -> NDArray[np.bool_]:
    return np.array([each == origin for each in table["origin"].to_pylist()], bool)
