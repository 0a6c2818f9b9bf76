"""Curves and pictures for experiment trackers: TensorBoard by default, Weights & Biases and MLflow where installed.

A tracker is opened with the first curve or picture, so that a run which trains nothing leaves nothing behind.
"""

import atexit
import io
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.reporting import Reporter, Scalar, StageEvent, Tee

_PROJECT = "aigc_pipeline"


class Tracker(Protocol):
    """What an experiment tracker takes."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Keep one point of a curve; `step` counts samples seen."""
        ...

    def image(self, title: str, png: bytes, step: int) -> None:
        """Keep a picture."""
        ...

    def flush(self) -> None:
        """Make sure that everything is written."""
        ...


def tracked(reporter: Reporter, tools: Sequence[str], workspace: Path) -> Reporter:
    """Return a reporter that also feeds these tools.

    Raises:
        ConfigError: if a tool is not installed.
    """
    for tool in tools:
        _check(tool)
    started = time.strftime("%Y%m%d-%H%M%S")
    trackers = [TrackingReporter(tool, workspace / "tracking" / tool / started) for tool in tools]
    return Tee(reporter, *trackers) if trackers else reporter


class TrackingReporter:
    """A `Reporter` that passes curves and pictures to one tracker, which it opens when there is something to say."""

    def __init__(self, tool: str, folder: Path) -> None:
        self.tool, self.folder = tool, folder
        self._tracker: Tracker | None = None
        self._step = 0

    def stage(self, name: str, event: StageEvent, seconds: float) -> None:
        """Write everything out at the end of a stage."""
        del name, seconds
        if event == "finished" and self._tracker is not None:
            self._tracker.flush()

    def progress(self, task: str, done: int, total: int) -> None:
        """Ignore."""

    def metric(self, name: str, value: float, step: int) -> None:
        """Keep one point of a curve."""
        self._step = step
        self._open().metric(name, value, step)

    def table(self, title: str, rows: Sequence[Mapping[str, Scalar]]) -> None:
        """Ignore: tables are in the report."""

    def image(self, title: str, png: bytes) -> None:
        """Keep a picture at the step of the last curve; the number in its title goes, so that they form one series."""
        self._open().image(title.rstrip("0123456789, ").removesuffix(" after"), png, self._step)

    def file(self, title: str, path: Path) -> None:
        """Ignore."""

    def note(self, message: str) -> None:
        """Ignore: notes are in the log."""

    def _open(self) -> Tracker:
        if self._tracker is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._tracker = _TOOLS[self.tool](self.folder)
        return self._tracker


class TensorBoard:
    """Event files; `tensorboard --logdir WORKSPACE/tracking/tensorboard` shows them."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder))
        atexit.register(self._writer.close)  # its thread is a daemon: a run that fails would lose the last points

    def metric(self, name: str, value: float, step: int) -> None:
        """Add a scalar."""
        self._writer.add_scalar(name, value, step)

    def image(self, title: str, png: bytes, step: int) -> None:
        """Add a picture."""
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        self._writer.add_image(title, pixels, step, dataformats="HWC")

    def flush(self) -> None:
        """Write out."""
        self._writer.flush()


class WeightsAndBiases:
    """One run of the project `aigc_pipeline`; WANDB_MODE=offline keeps it in the folder."""

    def __init__(self, folder: Path) -> None:
        import wandb

        self._wandb: Any = wandb
        # Without `create_new` a second run in one process (a Prefect worker's) would go on in the first one's files.
        self._run: Any = wandb.init(project=_PROJECT, dir=str(folder), reinit="create_new")

    def metric(self, name: str, value: float, step: int) -> None:
        """Log a point; steps of several curves need not rise together, so samples seen are logged beside it."""
        self._run.log({name: value, "samples_seen": step})

    def image(self, title: str, png: bytes, step: int) -> None:
        """Log a picture."""
        self._run.log({title: self._wandb.Image(Image.open(io.BytesIO(png))), "samples_seen": step})

    def flush(self) -> None:
        """Do nothing: its own process writes."""


class MLflow:
    """One run of the experiment `aigc_pipeline`; without MLFLOW_TRACKING_URI it is kept in the folder, in SQLite."""

    def __init__(self, folder: Path) -> None:
        import os

        import mlflow

        if "MLFLOW_TRACKING_URI" not in os.environ:
            mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        self._client: Any = mlflow.tracking.MlflowClient()
        known = self._client.get_experiment_by_name(_PROJECT)
        experiment = known.experiment_id if known else self._client.create_experiment(_PROJECT, str(folder / "files"))
        self._run = self._client.create_run(experiment).info.run_id

    def metric(self, name: str, value: float, step: int) -> None:
        """Log a point."""
        self._client.log_metric(self._run, name, value, step=step)

    def image(self, title: str, png: bytes, step: int) -> None:
        """Log a picture as an artifact."""
        self._client.log_image(
            self._run, np.asarray(Image.open(io.BytesIO(png))), f"{title.replace(' ', '_')}-{step}.png"
        )

    def flush(self) -> None:
        """Call the run finished: every call is written at once, and a later stage may still add to it."""
        self._client.set_terminated(self._run)


_TOOLS: dict[str, type[TensorBoard] | type[WeightsAndBiases] | type[MLflow]] = {
    "tensorboard": TensorBoard,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}


def _check(tool: str) -> None:
    if find_spec(tool) is None:
        msg = f"runtime.tracking names '{tool}', which is not installed: pip install 'aigc-pipeline[{tool}]', or leave it out."
        raise ConfigError(msg)
