"""Drawings as inline SVG. Matplotlib draws in stand-in colors that become CSS variables: they follow light, dark and print."""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from aigc_pipeline.publishing.report.wording import QUOTA, arm_words, has_synthetic
from aigc_pipeline.records import Estimate

_INK, _MUTED, _LINE, _GOOD, _SPARE, _BAD, _BACK = (f"#01020{i}" for i in range(3, 10))
_VARIABLES = {
    _INK: "ink", _MUTED: "muted", _LINE: "line", _GOOD: "accent", _SPARE: "spare", _BAD: "refused", _BACK: "card",
}  # fmt: skip
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _MUTED,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _MUTED,
    "ytick.labelcolor": _MUTED,
    "ytick.major.size": 0,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}
_NUM_BINS = 25


def draw_p_real(candidates: pa.Table) -> str | None:
    """Draw how `p_real` is spread over accepted, surplus and refused candidates; None where nobody has one."""
    known = candidates.filter(candidates["p_real"].is_valid())
    if not len(known):
        return None
    p = known["p_real"].to_numpy()
    reasons = np.array([reason or "" for reason in known["reject_reason"].to_pylist()])
    parts = {
        "accepted": (p[reasons == ""], _GOOD),
        "good, class full": (p[reasons == QUOTA], _SPARE),
        "rejected": (p[(reasons != "") & (reasons != QUOTA)], _BAD),
    }
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.8, 2.75)
        shown = {name: part for name, part in parts.items() if len(part[0])}
        axes.hist(
            [values for values, _ in shown.values()],
            bins=np.linspace(0, 1, _NUM_BINS + 1).tolist(),
            stacked=True,
            color=[color for _, color in shown.values()],
            label=list(shown),
            edgecolor=_BACK,
            linewidth=0.5,
        )
        _draw_threshold(axes, p, reasons)
        axes.grid(axis="y")
        axes.set(xlim=(0, 1), xlabel="p_real: how real it looks to the critic", ylabel="candidates")
        _legend_above(axes)
        return _svg(figure, "Histogram of p_real by fate of the candidate")


def draw_reliability(curve: Sequence[tuple[float, float, int]]) -> str | None:
    """Draw said against observed probability; None without a curve."""
    if not curve:
        return None
    said, observed, size = (np.array(column, float) for column in zip(*curve, strict=True))
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.8, 2.75)
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=1, linestyle=(0, (4, 3)), label="perfect")
        axes.plot(said, observed, color=_GOOD, linewidth=1.4, label="measured (larger dot: more samples)")
        axes.scatter(
            said, observed, s=14 + 90 * size / size.max(), color=_GOOD, edgecolors=_BACK, linewidths=1, zorder=3
        )
        axes.grid(axis="y")
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.05, 1.05), xlabel="p_real the critic says", ylabel="share that is real")
        _legend_above(axes)
        return _svg(figure, "Reliability curve of the critic")


def draw_arms(arms: Mapping[str, Estimate], baseline: str | None) -> str | None:
    """Draw accuracy with its interval per training; None where none was measured."""
    if not arms:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.8, 0.75 + 0.42 * len(arms))
        for row, (name, estimate) in enumerate(arms.items()):
            color = _GOOD if has_synthetic(name) else _INK if name == baseline else _MUTED
            low, high = estimate.ci_low, estimate.ci_high
            if low is not None and high is not None:
                axes.plot([100 * low, 100 * high], [row, row], color=color, linewidth=2.2, solid_capstyle="round")
            axes.plot([100 * estimate.value], [row], "o", color=color, markersize=7)
        axes.set_yticks(range(len(arms)), [arm_words(name) for name in arms], color=_INK)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.grid(axis="x")
        axes.set(xlabel="balanced accuracy on test samples, %")
        return _svg(figure, "Accuracy of each training with its interval")


def _figure(width_inches: float, height_inches: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def _draw_threshold(axes: Axes, p: NDArray[np.float32], reasons: NDArray[np.str_]) -> None:
    """Mark the limit of the plain threshold gate: it lies above every row that it refused."""
    refused = p[reasons == "min_p_real"]
    if len(refused):
        axes.axvline(float(refused.max()), color=_INK, linewidth=1.2, label="limit")


def _legend_above(axes: Axes) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2, handlelength=1.1, columnspacing=1.2
    )


def _svg(figure: Figure, label: str) -> str:
    """Return an `<svg>` element for HTML: no prologue, no metadata, no fixed size, theme colors, the page's font."""
    buffer = StringIO()
    with mpl.rc_context({"svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'\s(?:xmlns(?::\w+)?|width|height)="[^"]*"', "", drawing, count=4)
    drawing = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", drawing)
    for color, variable in _VARIABLES.items():
        drawing = drawing.replace(color, f"var(--{variable})")
    return drawing.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
