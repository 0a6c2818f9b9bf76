"""Uplift against dose, precision against recall of the filter, and accuracy against the number of real samples."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from aigc_pipeline.publishing.report.drawing import (
    BAD,
    GOOD,
    INK,
    MUTED,
    SPARE,
    figure,
    legend_above,
    style,
    svg,
)
from aigc_pipeline.publishing.report.wording import mix_words
from aigc_pipeline.records import Choice, DosePoint, Estimate, LearningPoint, TradePoint, Worth

_COLORS = {"generated": GOOD, "classic": BAD, "both": MUTED}
_MARKERS = ("o", "s", "^", "D", "v", "P")


def draw_doses(points: Sequence[DosePoint], choice: Choice | None) -> str | None:
    """Draw uplift on selection over the dose, a line per mix, a marker per loss weight; None where nothing was tried."""
    if not points:
        return None
    with style():
        drawn, axes = figure(4.8, 3.1)
        axes.axhline(0, color=INK, linewidth=1)
        weights = sorted({point.loss_weight for point in points})
        for mix in dict.fromkeys(point.mix for point in points):
            mine = [point for point in points if point.mix == mix]
            _draw_mix(axes, mine, weights, _COLORS[mix], mix_words(mix))
        for weight, marker in zip(weights, _MARKERS, strict=False):
            axes.plot([], [], marker, color=INK, markersize=5, label=f"loss weight {weight:g}")
        if chosen := _chosen(points, choice):
            axes.scatter(
                [100 * chosen.dose], [100 * chosen.uplift.value], s=190, facecolors="none", edgecolors=INK,
                linewidths=1.6, zorder=4, label="chosen",
            )  # fmt: skip
        axes.grid(axis="y")
        axes.set(xlabel="synthetic share of a batch, %", ylabel="uplift on selection, points")
        axes.margins(x=0.08, y=0.12)
        legend_above(axes, 2)
        return svg(drawn, "Uplift on selection samples over the dose")


def _draw_mix(axes: Axes, points: Sequence[DosePoint], weights: Sequence[float], color: str, name: str) -> None:
    usual = max({p.loss_weight for p in points}, key=lambda weight: sum(p.loss_weight == weight for p in points))
    line = sorted((p.dose, p.uplift.value) for p in points if p.loss_weight == usual)
    axes.plot([100 * x for x, _ in line], [100 * y for _, y in line], color=color, linewidth=1.4, label=name)
    for point in points:
        x, marker = 100 * point.dose, _MARKERS[weights.index(point.loss_weight) % len(_MARKERS)]
        _draw_interval(axes, x, point.uplift, color)
        axes.plot([x], [100 * point.uplift.value], marker, color=color, markersize=5.5)


def _draw_interval(axes: Axes, x: float, estimate: Estimate, color: str) -> None:
    if estimate.ci_low is not None and estimate.ci_high is not None:
        axes.plot([x, x], [100 * estimate.ci_low, 100 * estimate.ci_high], color=color, linewidth=1, alpha=0.55)


def _chosen(points: Sequence[DosePoint], choice: Choice | None) -> DosePoint | None:
    if choice is None:
        return None
    wanted = (choice.mix, choice.dose, choice.loss_weight)
    return next((point for point in points if (point.mix, point.dose, point.loss_weight) == wanted), None)


def draw_trade(points: Sequence[TradePoint], keep_share: float | None) -> str | None:
    """Draw precision over recall, a dot per budget, the frozen one marked; None where it was not measured."""
    if not points:
        return None
    ordered = sorted(points, key=lambda point: point.keep_share)
    recall, precision = ([100 * getattr(point, name) for point in ordered] for name in ("recall", "precision"))
    with style():
        drawn, axes = figure(4.8, 2.9)
        axes.plot(recall, precision, color=SPARE, linewidth=1.4)
        for point, x, y in zip(ordered, recall, precision, strict=True):
            is_frozen = point.keep_share == keep_share
            axes.plot([x], [y], "o", color=GOOD if is_frozen else MUTED, markersize=10 if is_frozen else 5.5)
            words = f"keeps {100 * point.keep_share:.0f} %" + (", used" if is_frozen else "")
            axes.annotate(words, (x, y), (0, 8), textcoords="offset points", ha="center", fontsize=8.5)
        axes.grid(axis="both")
        axes.set(xlabel="recall: real samples reached, %", ylabel="precision, %")
        axes.margins(x=0.16, y=0.2)
        return svg(drawn, "Precision against recall of the filter, per share that is kept")


def draw_learning(worth: Worth, with_synthetic: Estimate | None) -> str | None:
    """Draw accuracy over the number of real samples, and where synthetic samples bring it; None without a curve."""
    if not worth.curve:
        return None
    points: Sequence[LearningPoint] = worth.curve
    x, y = [point.num_real for point in points], [100 * point.accuracy.value for point in points]
    with style():
        drawn, axes = figure(4.8, 2.9)
        for point in points:
            _draw_interval(axes, point.num_real, point.accuracy, INK)
        axes.plot(x, y, "o-", color=INK, linewidth=1.4, markersize=5.5, label="real samples alone")
        if with_synthetic is not None:
            axes.axhline(
                100 * with_synthetic.value, color=GOOD, linewidth=1.4, linestyle=(0, (4, 3)),
                label="all real samples + synthetic",
            )  # fmt: skip
        _draw_worth(axes, worth, with_synthetic)
        axes.grid(axis="y")
        axes.set(xlabel="real samples to train on", ylabel="balanced accuracy on test, %")
        legend_above(axes, 2)
        return svg(drawn, "Learning curve: accuracy over the number of real samples")


def _draw_worth(axes: Axes, worth: Worth, with_synthetic: Estimate | None) -> None:
    """Mark how many real samples the synthetic ones are worth, with the interval as far as it is known."""
    found = worth.real_samples
    if found is None or with_synthetic is None:
        return
    start, level = worth.curve[-1].num_real, 100 * with_synthetic.value
    low, high = (found.value if end is None else end for end in (found.ci_low, found.ci_high))
    axes.plot([start + low, start + high], [level, level], color=GOOD, linewidth=5, alpha=0.35, solid_capstyle="round")
    axes.plot([start + found.value], [level], "D", color=GOOD, markersize=7, label="worth")
    axes.set_xlim(right=float(np.max([start + found.value, start + high])) * 1.06)
