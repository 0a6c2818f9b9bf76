"""Two processes on one training: what one process does, to float rounding."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import ConfigError, TrainingDivergedError
from aigc_pipeline.core.store import Store
from aigc_pipeline.fitting.budget import Speed
from aigc_pipeline.pipeline import Judged, judge_pipeline
from tests.e2e.running import fast_config

pytestmark = pytest.mark.e2e
SHORT = ("train.total_samples=9600", "train.patience=99", "calibrate.pilot_per_class=30")


def judge(workspace: Path, *overrides: str) -> tuple[Judged, dict[str, torch.Tensor]]:
    config = fast_config("mixture", *SHORT, *overrides)
    context = Context(Store(workspace), config.seed, config.runtime)
    judged = judge_pipeline(config, context=context)
    return judged, load_file(context.files_of(judged.checkpoint) / "generator.safetensors")


def test_two_processes_train_the_weights_of_one(tmp_path):
    one, weights_of_one = judge(tmp_path / "one")
    two, weights_of_two = judge(tmp_path / "two", "runtime.processes=2")

    assert one.checkpoint.samples_seen == two.checkpoint.samples_seen == 9_600
    assert one.checkpoint.best_samples_seen == two.checkpoint.best_samples_seen
    for name, value in weights_of_one.items():
        torch.testing.assert_close(weights_of_two[name], value, rtol=1e-3, atol=1e-4)


def test_an_error_in_a_process_arrives_in_words(tmp_path, monkeypatch):
    not_measured = Speed(trained=1_000, drawn=1_000)  # the probe would diverge first, in this process
    monkeypatch.setattr("aigc_pipeline.stages.plan.measure_speed", lambda *_rest, **_more: not_measured)
    with pytest.raises(TrainingDivergedError, match=r"Lower train\.generator\.learning_rate"):
        judge(tmp_path, "runtime.processes=2", "train.generator.learning_rate=1e6", "train.validate_share=0")


def test_a_batch_too_small_to_share_is_refused_in_words(tmp_path):
    with pytest.raises(ConfigError, match="a batch of 2 gives work to at most 1"):
        judge(tmp_path, "runtime.processes=2", "train.generator.batch_size=2")
