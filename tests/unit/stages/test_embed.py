"""What the stage notices about samples that came since the last run, on a real folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aigc_pipeline.config import load_config
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.store import Store
from aigc_pipeline.pipeline import StageCaller
from aigc_pipeline.records import Embeddings
from aigc_pipeline.stages.clean import clean
from aigc_pipeline.stages.embed import embed
from aigc_pipeline.stages.ingest import ingest, list_source
from aigc_pipeline.stages.split import split

BRIGHTNESS = {"cat": 80, "dog": 160}


def add(folder: Path, name: str, numbers: range, brightness: int) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    for number in numbers:
        noise = np.random.default_rng([number, brightness]).normal(brightness, 20, (8, 8))
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number}.png")


@pytest.fixture
def folder(tmp_path):
    for name, brightness in BRIGHTNESS.items():
        add(tmp_path / "pictures", name, range(80), brightness)
    return tmp_path / "pictures"


def embedded(folder, workspace, reporter) -> Embeddings:
    config = load_config(source=folder, overrides=("embed.encoder.kind=random_network", "runtime.device=cpu"))
    run = StageCaller.of(config, Context(Store(workspace), config.seed, config.runtime, reporter), None)
    raw = run(ingest, config.ingest, list_source(config.ingest))
    return run(embed, config.embed, run(split, config.split, raw, run(clean, config.clean, raw)))


def test_the_first_run_and_one_without_new_samples_compare_nothing(folder, tmp_path, recording_reporter):
    assert embedded(folder, tmp_path / "w", recording_reporter).arrivals is None

    (folder / "cat" / "0.png").unlink()

    assert embedded(folder, tmp_path / "w", recording_reporter).arrivals is None


def test_samples_like_the_others_are_counted_and_raise_no_warning(folder, tmp_path, recording_reporter):
    embedded(folder, tmp_path / "w", recording_reporter)
    for name, brightness in BRIGHTNESS.items():
        add(folder, name, range(100, 103), brightness)

    arrivals = embedded(folder, tmp_path / "w", recording_reporter).arrivals

    assert arrivals is not None
    assert (arrivals.num_samples, arrivals.warning) == (6, None)
    assert arrivals.num_unlike <= 1


@pytest.mark.parametrize("refit_after", ["serves", "refitted"])
def test_samples_unlike_their_class_are_named_whether_the_encoder_serves_or_not(
    folder, tmp_path, recording_reporter, refit_after
):
    embedded(folder, tmp_path / "w", recording_reporter)
    add(folder, "dog", range(100, 106), BRIGHTNESS["cat"])  # wrong labels
    if refit_after == "refitted":
        add(folder, "cat", range(200, 208), BRIGHTNESS["cat"])

    found = embedded(folder, tmp_path / "w", recording_reporter)

    assert found.refitted == (refit_after == "refitted")
    assert found.arrivals is not None
    assert found.arrivals.warning is not None
    assert "dog 6" in found.arrivals.warning
    assert len(found.arrivals.unlike) == found.arrivals.num_unlike >= 6
    assert any(found.arrivals.warning in note for note in recording_reporter.notes)
