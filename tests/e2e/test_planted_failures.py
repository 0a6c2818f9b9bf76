"""Trainings that go wrong: each ends with a healthy model or with a clear verdict."""

import math
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.store import Store
from aigc_pipeline.generators.adversarial import Objective
from aigc_pipeline.pipeline import Judged, judge_pipeline, plan_pipeline
from tests.e2e.running import fast_config, run

pytestmark = pytest.mark.e2e


def write_digits(folder: Path, counts: dict[int, int]) -> Path:
    """Write so many 8 x 8 pictures of each digit."""
    digits = load_digits()
    for digit, count in counts.items():
        place = folder / str(digit)
        place.mkdir(parents=True)
        for number, pixels in enumerate(digits.images[digits.target == digit][:count]):
            save(pixels, place / f"{number}.png")
    return folder


def save(pixels: np.ndarray, file: Path) -> None:
    Image.fromarray(np.clip(pixels * 16, 0, 255).astype(np.uint8)).save(file)


def judge(source: Path | str, workspace: Path, *overrides: str) -> Judged:
    config = fast_config(str(source), *overrides)
    return judge_pipeline(config, context=Context(Store(workspace), config.seed, config.runtime))


def test_a_nan_in_one_batch_costs_a_rollback_and_ends_healthy(tmp_path, monkeypatch):
    loss_of, poisoned = Objective.discriminator, []

    def poison(self, networks, batch):
        loss, values = loss_of(self, networks, batch)
        if batch.progress > 0.2 and not poisoned:
            poisoned.append(batch.progress)
            return loss * math.nan, values
        return loss, values

    config = fast_config("mixture", "train.generator.kind=r3gan")
    plan_pipeline(config, context=Context(Store(tmp_path), config.seed, config.runtime))  # its probe trains, too
    monkeypatch.setattr(Objective, "discriminator", poison)
    judged = judge("mixture", tmp_path, "train.generator.kind=r3gan")

    assert "the loss of phase 'discriminator' became nan" in judged.checkpoint.events[0]
    assert "back to the checkpoint" in judged.checkpoint.events[0]
    assert judged.filtered.num_kept > 0


def test_a_learning_rate_a_hundredfold_too_high_is_halved_until_training_holds(tmp_path):
    judged = judge("digits", tmp_path, "train.generator.kind=r3gan", "train.generator.learning_rate=0.1")

    setbacks = [event for event in judged.checkpoint.events if "training diverges" in event]
    assert 2 <= len(setbacks) <= 4
    assert all("back to the checkpoint at 0 samples" in event for event in setbacks)
    assert judged.filtered.num_kept > 0


def test_the_default_family_survives_a_learning_rate_a_hundredfold_too_high(tmp_path):
    judged = judge("digits", tmp_path, "train.generator.learning_rate=0.1")

    assert judged.checkpoint.events
    assert judged.filtered.num_kept > 0


def test_a_class_of_twelve_is_varied_instead_of_generated(tmp_path):
    judged = judge(write_digits(tmp_path / "data", {0: 150, 1: 150, 7: 12}), tmp_path / "workspace")

    methods = {each.class_name: each.method for each in judged.planned.classes}
    assert methods == {"0": "generate", "1": "generate", "7": "vary"}
    assert "a generator would likely harm this class" in judged.planned.classes[2].expectation
    assert judged.judge.num_proof == sum(judged.splits.class_counts["selection"][:2])
    assert judged.splits.class_counts["selection"][2] > 0


def test_as_many_candidates_are_made_as_pass_with_the_parents_that_they_have(tmp_path):
    """In the user's validation folder a class looks like the other one: its variations are refused."""
    digits = load_digits()
    zeros, ones = (digits.images[digits.target == digit] for digit in (0, 1))
    for role, name, pictures in (
        ("train", "0", zeros[:80]), ("train", "1", ones[:80]), ("val", "0", zeros[80:110]), ("val", "1", zeros[110:160]),
        ("test", "0", zeros[160:]), ("test", "1", ones[80:100])):  # fmt: skip
        (tmp_path / "data" / role / name).mkdir(parents=True)
        for number, pixels in enumerate(pictures):
            save(pixels, tmp_path / "data" / role / name / f"{number}.png")
    strategy = "plan.strategy={kind: explicit, counts: {'1': 100}}"
    judged = judge(tmp_path / "data", tmp_path / "workspace", "train.generator.kind=classic", strategy)

    assert judged.judge.acceptance["1"] < 0.8
    assert not judged.filtered.shortfall


def test_one_class_only_is_refused_in_words(tmp_path):
    with pytest.raises(DataError, match="has only the class '3' after cleaning"):
        judge(write_digits(tmp_path / "data", {3: 100}), tmp_path / "workspace")


def test_ninety_identical_pictures_are_one_sample_and_refused_in_words(tmp_path):
    folder = write_digits(tmp_path / "data", {0: 100, 1: 100})
    (folder / "5").mkdir()
    pixels = load_digits().images[5]
    for number in range(90):
        save(pixels, folder / "5" / f"{number}.png")

    with pytest.raises(DataError, match=r"the test split has no sample of '5' \(1 samples in 1 clusters"):
        judge(folder, tmp_path / "workspace")


def test_nothing_is_said_to_be_filtered_by_a_critic_that_judges_no_class(tmp_path, recording_reporter):
    """Ten classes of twelve training samples, made from these: neither judged, nor called filtered."""
    folder, never = write_digits(tmp_path / "data", dict.fromkeys(range(10), 20)), "calibrate.max_excess_ece=0.9"
    overrides = ("train.generator.kind=warp", "calibrate.min_auc=0.5", "calibrate.min_effective_share=0.001", never)
    run(fast_config(str(folder), *overrides), tmp_path / "workspace", recording_reporter)
    version = tmp_path / "workspace" / "versions" / "v0001"

    assert pq.read_table(version / "candidates.parquet")["p_real"].null_count > 0
    assert pq.read_table(version / "candidates.parquet")["p_real"].drop_null().to_pylist() == []
    assert "Not filtered by probability" in (version / "README.md").read_text()
    assert any("no class is generated that a critic can judge" in note for note in recording_reporter.notes)
