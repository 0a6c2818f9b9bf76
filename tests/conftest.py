"""Small nouns that many tests need."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from aigc_pipeline.core.context import Context, RuntimeConfig
from aigc_pipeline.core.reporting import Scalar, StageEvent
from aigc_pipeline.core.store import Store
from aigc_pipeline.features.archives import READS_EXPORTS  # isort: split

import torch  # after aigc_pipeline, which tells OpenMP how to wait

torch.set_num_threads(1)  # two busy thread pools on two cores slow each other down a hundredfold

needs_exports = pytest.mark.skipif(not READS_EXPORTS, reason="torch.export files need torch 2.9 or newer")


class RecordingReporter:
    """Remembers everything that was said."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, StageEvent]] = []
        self.notes: list[str] = []
        self.tables: dict[str, list[Mapping[str, Scalar]]] = {}
        self.files: dict[str, Path] = {}
        self.images: list[str] = []
        self.metrics: list[tuple[str, float, int]] = []

    def stage(self, name: str, event: StageEvent, seconds: float) -> None:
        del seconds
        self.stages.append((name, event))

    def progress(self, task: str, done: int, total: int) -> None:
        assert 0 <= done <= total, task

    def metric(self, name: str, value: float, step: int) -> None:
        self.metrics.append((name, value, step))

    def table(self, title: str, rows: Sequence[Mapping[str, Scalar]]) -> None:
        self.tables[title] = list(rows)

    def image(self, title: str, png: bytes) -> None:
        assert png.startswith(b"\x89PNG")
        self.images.append(title)

    def file(self, title: str, path: Path) -> None:
        self.files[title] = path

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def recording_reporter() -> RecordingReporter:
    return RecordingReporter()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "workspace")


@pytest.fixture
def context(store: Store, recording_reporter: RecordingReporter, tmp_path: Path) -> Context:
    """A context as a stage sees it."""
    out = tmp_path / "out"
    out.mkdir()
    base = Context(store, seed=0, runtime=RuntimeConfig(device="cpu", threads=1), reporter=recording_reporter)
    return base.for_stage("some_stage", 1, "f" * 64, out)
