"""Which samples a page shows: per class the most and least real-looking accepted ones, those between, and refused ones.

Each stands beside its nearest real training sample, so that a copy catches the eye. The choice is deterministic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.data.mixing import chosen_rows
from aigc_pipeline.publishing.report.content import Html, ReportContent
from aigc_pipeline.publishing.report.wording import SURPLUS, short_reason

MAX_CLASSES = 20
PER_GROUP = 4
_ORDERS = ("p_real", "label_probability")
Rows = list[int]


@dataclass(frozen=True, slots=True)
class Shot:
    """One candidate as shown: itself, its nearest real training sample, its numbers."""

    html: Html
    nearest_html: Html | None
    facts: str
    reason: str | None
    is_varied: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Some candidates of one class that share a fate."""

    title: str
    shots: tuple[Shot, ...]


@dataclass(frozen=True, slots=True)
class ClassGallery:
    """What is shown of one class; `typical` is its accepted sample in the middle of the order."""

    name: str
    groups: tuple[Group, ...]
    typical: Shot | None


@dataclass(frozen=True, slots=True)
class Gallery:
    """What is shown, and how much is not."""

    classes: tuple[ClassGallery, ...]
    num_hidden_classes: int
    ordered_by: str
    """`p_real`, `label_probability`, or `index` where both are unknown."""


def build_gallery(content: ReportContent) -> Gallery:
    """Choose samples and render them, each once."""
    table = content.candidates
    ordered_by, order = _order(table)
    with_candidates = set(table["class_name"].to_pylist())
    names = [name for name in content.classes if name in with_candidates]
    taken = _taken(content)
    with_taken = set(table.filter(pa.array(taken))["class_name"].to_pylist())
    shown = set(sorted(names, key=lambda name: name not in with_taken)[:MAX_CLASSES])
    chosen = {name: _choose(table, order, name, taken) for name in names if name in shown}
    shots = _shots(content, sorted({row for groups in chosen.values() for rows in groups.values() for row in rows}))
    return Gallery(
        tuple(_class_gallery(name, groups, shots) for name, groups in chosen.items()),
        num_hidden_classes=max(0, len(names) - MAX_CLASSES),
        ordered_by=ordered_by,
    )


def spread(order: Sequence[int], size: int = PER_GROUP) -> tuple[Rows, Rows, Rows]:
    """Return the first `size`, the middle `size` and the last `size` (last one first); no row twice."""
    first, rest = list(order[:size]), list(order[size:])
    last = rest[-size:][::-1]
    between = rest[: len(rest) - len(last)]
    start = max(0, (len(between) - size) // 2)
    return first, between[start : start + size], last


def _order(table: pa.Table) -> tuple[str, NDArray[np.int64]]:
    """Return by what rows are ordered, and all rows from the largest to the smallest; unknown values last."""
    for name in _ORDERS:
        if table[name].null_count < len(table):
            values = table[name].to_pandas().to_numpy(np.float64)
            return name, np.argsort(-np.nan_to_num(values, nan=-1.0), kind="stable").astype(np.int64)
    return "index", np.arange(len(table), dtype=np.int64)


def _taken(content: ReportContent) -> NDArray[np.bool_]:
    """Return which candidates are accepted and of the kind that was chosen: a reader wants to see what is published."""
    table, choice = content.candidates, content.evaluation.choice
    accepted = np.asarray(table["accepted"].to_numpy(zero_copy_only=False), bool)
    if choice is None:
        return accepted
    taken = np.zeros(len(table), bool)
    taken[chosen_rows(table, choice.mix)] = True
    return taken


def _choose(table: pa.Table, order: NDArray[np.int64], name: str, taken: NDArray[np.bool_]) -> dict[str, Rows]:
    in_class = np.array([each == name for each in table["class_name"].to_pylist()], bool)
    accepted = table["accepted"].to_numpy(zero_copy_only=False)
    best, between, worst = spread([int(row) for row in order[(in_class & taken)[order]]])
    return {
        "Best": best,
        "Typical": between,
        "Worst accepted": worst,
        "Rejected": _rejected(table, np.flatnonzero(in_class & ~accepted)),
    }


def _rejected(table: pa.Table, rows: NDArray[np.int64]) -> Rows:
    """Return refused rows, each reason in turn, so that a rare one is seen too; surplus ones only where nothing else is."""
    by_reason: dict[str, Rows] = {}
    reasons = table["reject_reason"].to_pylist()
    for row in rows:
        by_reason.setdefault(reasons[row] or "", []).append(int(row))
    queues = [queue for reason, queue in by_reason.items() if reason != SURPLUS] or list(by_reason.values())
    rounds = [queue[i] for i in range(PER_GROUP) for queue in queues if i < len(queue)]
    return rounds[:PER_GROUP]


def _shots(content: ReportContent, rows: Rows) -> dict[int, Shot]:
    if not rows:
        return {}
    columns = ("p_real", "label_probability", "train_distance", "nearest_train_id", "reject_reason", "origin")
    facts = content.candidates.select(columns).take(rows).to_pylist()
    ids = sorted({each["nearest_train_id"] for each in facts if each["nearest_train_id"] is not None})
    nearest = dict(zip(ids, content.train_html(ids), strict=True)) if ids else {}
    return {
        row: Shot(
            html,
            nearest.get(each["nearest_train_id"]),
            _facts(each),
            short_reason(each["reject_reason"]) if each["reject_reason"] else None,
            is_varied=each["origin"] == "classic",
        )
        for row, html, each in zip(rows, content.candidate_html(rows), facts, strict=True)
    }


def _facts(row: dict[str, float | None]) -> str:
    """Return the numbers under a sample: how real it looks and how far the nearest training sample is."""
    parts = []
    if row["p_real"] is not None:
        parts.append(f"p {row['p_real']:.2f}")
    elif row["label_probability"] is not None:
        parts.append(f"label {row['label_probability']:.2f}")
    if row["train_distance"] is not None:
        parts.append(f"d {row['train_distance']:.3f}")
    return " · ".join(parts)


def _class_gallery(name: str, groups: dict[str, Rows], shots: dict[int, Shot]) -> ClassGallery:
    shown = tuple(Group(title, tuple(shots[row] for row in rows)) for title, rows in groups.items() if rows)
    between = groups["Typical"] or groups["Best"]
    return ClassGallery(name, shown, shots[between[len(between) // 2]] if between else None)
