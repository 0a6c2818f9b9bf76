"""What became of the candidates, how far the critic can be trusted, and how each training did."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from numpy.typing import NDArray

from aigc_pipeline.publishing.report.drawing import BACK, BAD, GOOD, INK, MUTED, SPARE, figure, legend_above, style, svg
from aigc_pipeline.publishing.report.wording import SURPLUS, arm_words, has_synthetic
from aigc_pipeline.records import Estimate

_NUM_BINS = 25


def draw_p_real(candidates: pa.Table) -> str | None:
    """Draw how `p_real` is spread over accepted, surplus and refused candidates; None where nobody has one."""
    known = candidates.filter(candidates["p_real"].is_valid())
    if not len(known):
        return None
    p = known["p_real"].to_numpy()
    reasons = np.array([reason or "" for reason in known["reject_reason"].to_pylist()])
    is_surplus = reasons == SURPLUS
    parts = {
        "accepted": (p[reasons == ""], GOOD),
        "good, not needed": (p[is_surplus], SPARE),
        "rejected": (p[(reasons != "") & ~is_surplus], BAD),
    }
    with style():
        drawn, axes = figure(4.8, 2.75)
        shown = {name: part for name, part in parts.items() if len(part[0])}
        axes.hist(
            [values for values, _ in shown.values()],
            bins=np.linspace(0, 1, _NUM_BINS + 1).tolist(),
            stacked=True,
            color=[color for _, color in shown.values()],
            label=list(shown),
            edgecolor=BACK,
            linewidth=0.5,
        )
        _draw_threshold(axes, p, reasons)
        axes.grid(axis="y")
        axes.set(xlim=(0, 1), xlabel="p_real: how real it looks to the critic", ylabel="candidates")
        legend_above(axes)
        return svg(drawn, "Histogram of p_real by fate of the candidate")


def draw_reliability(curve: Sequence[tuple[float, float, int]]) -> str | None:
    """Draw said against observed probability; None without a curve."""
    if not curve:
        return None
    said, observed, size = (np.array(column, float) for column in zip(*curve, strict=True))
    with style():
        drawn, axes = figure(4.8, 2.75)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="perfect")
        axes.plot(said, observed, color=GOOD, linewidth=1.4, label="measured (larger dot: more samples)")
        axes.scatter(said, observed, s=14 + 90 * size / size.max(), color=GOOD, edgecolors=BACK, linewidths=1, zorder=3)
        axes.grid(axis="y")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.05, 1.05), xlabel="p_real the critic says", ylabel="share that is real")
        legend_above(axes)
        return svg(drawn, "Reliability curve of the critic")


def draw_arms(arms: Mapping[str, Estimate], baseline: str | None) -> str | None:
    """Draw accuracy with its interval per training; None where none was measured."""
    if not arms:
        return None
    with style():
        drawn, axes = figure(4.8, 0.75 + 0.42 * len(arms))
        for row, (name, estimate) in enumerate(arms.items()):
            color = GOOD if has_synthetic(name) else INK if name == baseline else MUTED
            low, high = estimate.ci_low, estimate.ci_high
            if low is not None and high is not None:
                axes.plot([100 * low, 100 * high], [row, row], color=color, linewidth=2.2, solid_capstyle="round")
            axes.plot([100 * estimate.value], [row], "o", color=color, markersize=7)
        axes.set_yticks(range(len(arms)), [arm_words(name) for name in arms], color=INK)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.set(xlabel="balanced accuracy, %")
        return svg(drawn, "Accuracy of each training with its interval")


def _draw_threshold(axes: Axes, p: NDArray[np.float32], reasons: NDArray[np.str_]) -> None:
    """Mark the limit of the plain threshold gate: it lies above every row that it refused."""
    refused = p[reasons == "min_p_real"]
    if len(refused):
        axes.axvline(float(refused.max()), color=INK, linewidth=1.2, label="limit")
