"""Reporters for Prefect: tables, pictures, files and progress become artifacts on the run page.

Artifacts are a convenience: where the API refuses one, the run goes on, the first refusal is logged and the rest are
counted. Curves are left out: the UI has no plots, the HTML report does.
"""

import base64
import io
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import cast
from uuid import UUID

import httpx
from PIL import Image
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

from aigc_pipeline.cli.console import Pace, cell_text
from aigc_pipeline.core.reporting import Scalar, StageEvent

logger = logging.getLogger(__name__)

_PROGRESS_INTERVAL_SECONDS = 3.0  # an update costs about 15 ms here, and the page polls no faster
_PROGRESS_PAUSE = 10  # times what the last update took: without a server Prefect's client tries for more than a minute
_MAX_IMAGE_BYTES = 200_000


class _Progress:
    """One progress artifact, updated at most every few seconds, and the more rarely the longer an update takes."""

    def __init__(self, task: str, done: int) -> None:
        self._task = task
        self._pace = Pace(done)
        self._artifact: UUID | None = None
        self._latest = (done, done)
        self._sent: tuple[int, int] | None = None
        self._next_at = 0.0

    def update(self, done: int, total: int) -> None:
        """Note where the task stands, and show it if the last time was long ago."""
        self._latest = (done, total)
        if done >= total or time.monotonic() >= self._next_at:
            self.show()

    def show(self) -> None:
        """Create or move the artifact; a task that stops early ends with what it had done."""
        if self._latest == self._sent:
            return
        self._sent, started = self._latest, time.monotonic()
        try:
            self._send(*self._latest)
        finally:
            now = time.monotonic()
            self._next_at = now + max(_PROGRESS_INTERVAL_SECONDS, _PROGRESS_PAUSE * (now - started))

    def _send(self, done: int, total: int) -> None:
        percent = 100.0 * done / total if total else 100.0
        pace = self._pace.describe(done, total)
        words = f"{self._task}: {done:,} of {total:,}" + (f" ({pace})" if pace else "")
        if self._artifact is None:
            made = create_progress_artifact(percent, key=key_of(f"{self._task} progress"), description=words)
            self._artifact = cast("UUID", made)  # typed for async callers too
        else:
            update_progress_artifact(self._artifact, percent, description=words)


class PrefectReporter:
    """Turns what stages say into artifacts of the running task. Notes and milestones travel as log lines instead."""

    def __init__(self) -> None:
        """Start with no artifact."""
        self.num_refused = 0
        self.computed: set[str] = set()
        """Stages that were computed, not answered from the store."""
        self._bars: dict[str, _Progress] = {}

    def stage(self, name: str, event: StageEvent, seconds: float) -> None:  # noqa: ARG002 - the Protocol's signature
        """Show where the bars of a finished stage ended, and forget them."""
        if event == "finished":
            self.computed.add(name)
        if event != "started":
            for bar in self._bars.values():
                self._try(bar.show)
            self._bars.clear()

    def progress(self, task: str, done: int, total: int) -> None:
        """Create or move a progress artifact."""
        bar = self._bars.setdefault(task, _Progress(task, done))
        self._try(lambda: bar.update(done, total))

    def metric(self, name: str, value: float, step: int) -> None:
        """Show nothing."""

    def table(self, title: str, rows: Sequence[Mapping[str, Scalar]]) -> None:
        """Create a table artifact; numbers are rounded for people."""
        cells = [{name: cell_text(value) for name, value in row.items()} for row in rows]
        self._try(lambda: create_table_artifact(cells, key=key_of(title), description=title))

    def image(self, title: str, png: bytes) -> None:
        """Create a markdown artifact with the picture inside: the page of an image artifact prints its whole data address.

        Pictures of one series share a key and form a timeline.
        """
        kind, content = small_picture(png)
        self.markdown(title, f"![{title}](data:image/{kind};base64,{base64.b64encode(content).decode()})")

    def file(self, title: str, path: Path) -> None:
        """Create a markdown artifact with the address in full: browsers refuse `file:` links from a web page."""
        uri = path.resolve().as_uri()
        self.markdown(
            title, f"[{uri}]({uri})\n\nOn the worker's machine. Copy the address where the browser refuses it."
        )

    def note(self, message: str) -> None:
        """Show nothing: it is a log line."""

    def markdown(self, title: str, text: str) -> None:
        """Create a markdown artifact."""
        self._try(lambda: create_markdown_artifact(text, key=key_of(title), description=title))

    def _try(self, create: Callable[[], object]) -> None:
        try:
            create()
        except (
            PrefectException,
            httpx.HTTPError,
            OSError,
        ) as err:  # whatever the API's trouble is, hours of training outweigh an artifact
            self.num_refused += 1
            level = logging.WARNING if self.num_refused == 1 else logging.DEBUG
            logger.log(level, "the Prefect API refused an artifact (%d so far): %r", self.num_refused, err)


def small_picture(png: bytes) -> tuple[str, bytes]:
    """Return format and content of a picture for a page: as it is where it is small, else as JPEG, halved until it is."""
    if len(png) <= _MAX_IMAGE_BYTES:
        return "png", png
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    while len(jpeg := _jpeg(picture)) > _MAX_IMAGE_BYTES:
        picture = picture.reduce(2)
    return "jpeg", jpeg


def _jpeg(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def key_of(title: str) -> str:
    """Return an artifact key: lower case, dashes, without the running number of a series ("samples after 4,096")."""
    words = re.sub(r"( after)?\s*\d[\d,._]*", " ", title.lower())
    return re.sub(r"[^a-z]+", "-", words).strip("-") or "untitled"
