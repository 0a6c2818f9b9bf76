"""When a checkpoint still serves. What is trained, and how well, is tested in `fitting` and `training`."""

from itertools import count

import pytest

from aigc_pipeline.config import load_config
from aigc_pipeline.core.context import Context
from aigc_pipeline.fitting.budget import Speed
from aigc_pipeline.fitting.fit import Outcome
from aigc_pipeline.pipeline import StageCaller, _prepare
from aigc_pipeline.records import Checkpoint
from aigc_pipeline.stages import plan
from aigc_pipeline.stages import train as stage
from aigc_pipeline.stages.embed import embed
from tests.unit.conftest import TINY

GROWN = "ingest.source.counts=[62,60,12]"


@pytest.fixture
def trained(store, monkeypatch):
    """Run the stage in one workspace, with weights that are new each time something is trained."""
    number = count()
    monkeypatch.setattr(plan, "_measure_speed", lambda *_: Speed(trained=1_000, drawn=1_000))
    monkeypatch.setattr(stage, "fit", lambda *_: Outcome(f"weights {next(number)}", 640, 640, 0.0, None, ()))

    def run(*overrides: str) -> Checkpoint:
        config = load_config(source="mixture", overrides=(*TINY, *overrides))
        call = StageCaller.of(config, Context(store, config.seed, config.runtime), None)
        _, _, splits, planned = _prepare(config, call)
        return call(stage.train, config.train, planned, splits, call(embed, config.embed, splits))

    return run


@pytest.mark.parametrize("changed", ["train.snapshot_share=0.5", "train.checkpoint_share=0.5", "evaluate.num_seeds=9"])
def test_a_checkpoint_serves_while_its_training_role_has_hardly_changed(trained, changed):
    first = trained()
    serving = trained(GROWN, changed)

    assert first.retrained
    assert not serving.retrained
    assert (serving.weights_sha256, serving.trained_on) == (first.weights_sha256, first.trained_on)


@pytest.mark.parametrize(
    "changed",
    [
        "seed=1",
        "train.retrain_after=0",
        "train.patience=3",
        "train.max_copy_share=0.5",
        "train.generator.learning_rate=0.001",
        "split.refit_after=0",  # another spec: points are divided by another scale
    ],
)
def test_a_checkpoint_does_not_serve_where_what_shaped_it_is_another(trained, changed):
    first = trained()
    other = trained(GROWN, changed)

    assert other.retrained
    assert other.weights_sha256 != first.weights_sha256


def test_growth_is_counted_from_the_samples_that_were_trained_on(trained):
    found = [trained(f"ingest.source.counts=[{number},60,12]") for number in (60, 64, 68)]

    assert [each.retrained for each in found] == [True, False, True]


def test_the_last_checkpoint_that_serves_is_taken_also_where_an_earlier_result_is_there(trained):
    """What was trained without a deleted sample must not be given up for what was trained with it."""
    first = trained()
    serves_on = trained(GROWN)
    retrained = trained(GROWN, "train.retrain_after=0")
    plain = trained(GROWN)

    assert serves_on.weights_sha256 == first.weights_sha256 != retrained.weights_sha256
    assert (plain.weights_sha256, plain.retrained) == (retrained.weights_sha256, False)


def test_the_same_weights_of_a_family_with_other_settings_make_other_samples(trained, monkeypatch):
    monkeypatch.setattr(stage, "fit", lambda *_: Outcome("weights", 640, 640, 0.0, None, ()))
    found = [trained(f"train.generator.learning_rate={rate}") for rate in (0.001, 0.002)]

    assert found[0].weights_sha256 == found[1].weights_sha256
    assert found[0].fingerprint != found[1].fingerprint
