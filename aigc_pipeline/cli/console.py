"""A `Reporter` for a person at a terminal: one live bar per task, a line per stage, notes in yellow.

Without a terminal (a pipe, a cron mail) the same events become plain lines, and progress at most one line in 30 s. It
prints no pictures and no curves: the report has them.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from aigc_pipeline.core.reporting import Scalar, StageEvent

_PLAIN_INTERVAL_SECONDS = 30.0
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_STYLES: Mapping[StageEvent, str] = {"started": "bold", "reused": "cyan", "finished": "green"}


@dataclass
class Pace:
    """How fast one task goes. Counts from the first call, so that a resumed training does not look fast."""

    first_done: int
    started: float = field(default_factory=time.monotonic)

    def describe(self, done: int, total: int) -> str:
        """Return rate and remaining time in words, or nothing before there is something to say."""
        seconds = time.monotonic() - self.started
        if done <= self.first_done or seconds <= 0:
            return ""
        rate = (done - self.first_done) / seconds
        left = f", {duration((total - done) / rate)} left" if done < total else ""
        return (f"{quantity(rate)}/s" if rate >= 1 else f"{duration(1 / rate)} each") + left


class ConsoleReporter:
    """Prints what stages say. Use it as a context manager, so that the live display always ends."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        """Print on `console` (standard output by default); `quiet` leaves notes and results."""
        self.console = console or Console(highlight=False)
        self.quiet = quiet
        self.computed: set[str] = set()
        """Stages that were computed, not answered from the store."""
        self._paces: dict[str, Pace] = {}
        self._bars: dict[str, TaskID] = {}
        self._printed: dict[str, float] = {}
        self._live: Progress | None = None

    def __enter__(self) -> Self:
        """Start without output: bars appear with the first progress."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the live display."""
        self._stop()

    def stage(self, name: str, event: StageEvent, seconds: float) -> None:
        """Show a moving bar while a stage works and print a line when it ends; its bars go."""
        if event == "finished":
            self.computed.add(name)
        if event == "started":
            if self.console.is_terminal and not self.quiet:
                self._add_bar(name, total=None)
        else:
            self._clear_bars()
            if not self.quiet:
                took = duration(seconds) if event == "finished" else ""
                self.console.print(Text.assemble((f"{name:<11}", "bold"), (f"{event:<9}", _STYLES[event]), took))

    def progress(self, task: str, done: int, total: int) -> None:
        """Move the bar of `task`, or print a line now and then."""
        if self.quiet:
            return
        pace = self._paces.setdefault(task, Pace(done))
        if self.console.is_terminal:
            self._move_bar(task, done, total, pace)
        elif time.monotonic() - self._printed.setdefault(task, pace.started) >= _PLAIN_INTERVAL_SECONDS:
            self._printed[task] = time.monotonic()
            self._line(f"{task}: {done:,} of {total:,} ({pace.describe(done, total) or 'starting'})")

    def metric(self, name: str, value: float, step: int) -> None:
        """Print nothing: curves are for the report."""

    def table(self, title: str, rows: Sequence[Mapping[str, Scalar]]) -> None:
        """Print a stage's table, whose columns are the keys of the first row."""
        if not self.quiet:
            self.result(title, rows)

    def result(self, title: str, rows: Sequence[Mapping[str, Scalar]]) -> None:
        """Print a table that answers the command, also when quiet."""
        if rows:
            self.console.print("", table_of(title, rows), sep="\n")

    def image(self, title: str, png: bytes) -> None:
        """Print nothing: a terminal shows no pictures."""

    def file(self, title: str, path: Path) -> None:
        """Print the path on a line of its own, so that it can be copied."""
        if not self.quiet:
            self._line(f"{title}: {path}")

    def note(self, message: str) -> None:
        """Print the sentence in yellow, also when quiet."""
        self.console.print(Text(harmless(message), style="yellow"), soft_wrap=True)

    def _line(self, text: str) -> None:
        self.console.print(Text(harmless(text)), soft_wrap=True)

    def _move_bar(self, task: str, done: int, total: int, pace: Pace) -> None:
        live = self._add_bar(task, total)
        words = f"{done:,} of {total:,}  {pace.describe(done, total)}"
        live.update(self._bars[task], completed=done, total=total, pace=words)

    def _add_bar(self, task: str, total: int | None) -> Progress:
        """Return the live display, in which `task` has a bar; one without a total just moves."""
        if self._live is None:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[pace]}"))
            self._live = Progress(*columns, console=self.console, transient=True)
            self._live.start()
        if task not in self._bars:
            self._bars[task] = self._live.add_task(f"{task:<11}", total=total, pace="")
        return self._live

    def _clear_bars(self) -> None:
        self._stop()
        self._paces.clear()
        self._bars.clear()
        self._printed.clear()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def table_of(title: str, rows: Sequence[Mapping[str, Scalar]]) -> Table:
    """Return a rich table: numbers to the right, floats to four digits, None as a dash."""
    table = Table(
        title=Text(title, style="bold"), title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False
    )
    for name in rows[0]:
        numeric = all(isinstance(row.get(name), int | float | None) for row in rows)
        table.add_column(Text(name), justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(harmless(cell_text(row.get(name)))) for name in rows[0]))
    return table


def cell_text(value: Scalar) -> str:
    """Return one table cell as text."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else value


def harmless(text: str) -> str:
    """Return text whose control characters but line breaks are escaped: a terminal obeys even what a file's name says."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def duration(seconds: float) -> str:
    """Return a time span as a person says it: `8.2 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes_left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes_left:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def quantity(value: float) -> str:
    """Return a positive number with about three digits and thousands separators."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
