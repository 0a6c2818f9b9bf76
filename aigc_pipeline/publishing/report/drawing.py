"""How every plot looks: stand-in colors that become CSS variables, so that it follows light, dark and print."""

import re
from contextlib import AbstractContextManager
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

INK, MUTED, LINE, GOOD, SPARE, BAD, BACK = (f"#01020{i}" for i in range(3, 10))
_VARIABLES = {
    INK: "ink", MUTED: "muted", LINE: "line", GOOD: "accent", SPARE: "spare", BAD: "refused", BACK: "card",
}  # fmt: skip
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "ytick.major.size": 0,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}


def style() -> AbstractContextManager[None]:
    """Return the settings under which everything of a plot must be drawn."""
    return mpl.rc_context(_STYLE)


def figure(width_inches: float, height_inches: float) -> tuple[Figure, Axes]:
    """Return an empty figure and its axes."""
    drawn = Figure(figsize=(width_inches, height_inches), layout="constrained")
    FigureCanvasSVG(drawn)
    return drawn, drawn.add_subplot()


def legend_above(axes: Axes, columns: int = 4) -> None:
    """Put the legend over the plot, where it covers nothing."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, borderaxespad=0.2, handlelength=1.1, columnspacing=1.2
    )


def svg(drawn: Figure, label: str) -> str:
    """Return an `<svg>` element for HTML: no prologue, no metadata, no fixed size, theme colors, the page's font."""
    buffer = StringIO()
    with mpl.rc_context({"svg.hashsalt": label}):
        drawn.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawing = buffer.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r'\s(?:xmlns(?::\w+)?|width|height)="[^"]*"', "", drawing, count=4)
    drawing = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--sans)", drawing)
    for color, variable in _VARIABLES.items():
        drawing = drawing.replace(color, f"var(--{variable})")
    return drawing.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
