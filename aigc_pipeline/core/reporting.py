"""What library code says while it works. It reports *what happened*; a console, a log or Prefect decides how it looks."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

logger = logging.getLogger("aigc_pipeline")

Scalar = str | int | float | bool | None
StageEvent = Literal["started", "reused", "finished"]


class Reporter(Protocol):
    """The seven things a stage may say. Every call is cheap and may be ignored."""

    def stage(self, name: str, event: StageEvent, seconds: float) -> None:
        """A stage started, was answered from the store, or finished after `seconds`."""

    def progress(self, task: str, done: int, total: int) -> None:
        """`done` of `total` units of `task`; the reporter works out rate and ETA."""

    def metric(self, name: str, value: float, step: int) -> None:
        """One point of a curve; `step` counts samples seen."""

    def table(self, title: str, rows: Sequence[Mapping[str, Scalar]]) -> None:
        """A small table for a person: at most about 100 rows."""

    def image(self, title: str, png: bytes) -> None:
        """A small picture (PNG, at most about 200 kB)."""

    def file(self, title: str, path: Path) -> None:
        """A file worth opening."""

    def note(self, message: str) -> None:
        """One sentence that a person should read: a warning, a relaxed rule, a verdict."""


class LogReporter:
    """Send everything to the `aigc_pipeline` logger: milestones as INFO, curves and progress as DEBUG."""

    def stage(self, name: str, event: StageEvent, seconds: float) -> None:
        """Log the event with its duration."""
        if event == "finished":
            logger.info("stage %s finished in %.1f s", name, seconds)
        else:
            logger.info("stage %s %s", name, event)

    def progress(self, task: str, done: int, total: int) -> None:
        """Log at DEBUG."""
        logger.debug("%s: %d of %d", task, done, total)

    def metric(self, name: str, value: float, step: int) -> None:
        """Log at DEBUG."""
        logger.debug("%s = %.6g at %d samples", name, value, step)

    def table(self, title: str, rows: Sequence[Mapping[str, Scalar]]) -> None:
        """Log one line a row."""
        for row in rows:
            logger.info("%s: %s", title, ", ".join(f"{key}={value}" for key, value in row.items()))

    def image(self, title: str, png: bytes) -> None:
        """Log the size only."""
        logger.debug("picture %s (%d bytes)", title, len(png))

    def file(self, title: str, path: Path) -> None:
        """Log the path."""
        logger.info("%s: %s", title, path)

    def note(self, message: str) -> None:
        """Log as WARNING, so that it is seen."""
        logger.warning("%s", message)


class Tee:
    """Tells several reporters the same things."""

    def __init__(self, *reporters: Reporter) -> None:
        """Keep the reporters in order."""
        self._reporters = reporters

    def stage(self, name: str, event: StageEvent, seconds: float) -> None:
        """Pass on."""
        for each in self._reporters:
            each.stage(name, event, seconds)

    def progress(self, task: str, done: int, total: int) -> None:
        """Pass on."""
        for each in self._reporters:
            each.progress(task, done, total)

    def metric(self, name: str, value: float, step: int) -> None:
        """Pass on."""
        for each in self._reporters:
            each.metric(name, value, step)

    def table(self, title: str, rows: Sequence[Mapping[str, Scalar]]) -> None:
        """Pass on."""
        for each in self._reporters:
            each.table(title, rows)

    def image(self, title: str, png: bytes) -> None:
        """Pass on."""
        for each in self._reporters:
            each.image(title, png)

    def file(self, title: str, path: Path) -> None:
        """Pass on."""
        for each in self._reporters:
            each.file(title, path)

    def note(self, message: str) -> None:
        """Pass on."""
        for each in self._reporters:
            each.note(message)
