"""Each setting reaches what it is called after, the screen reaches the record, and each opening of test is counted."""

from dataclasses import asdict, replace

import pytest
from pydantic import ValidationError

from aigc_pipeline.data.shards import read_table
from aigc_pipeline.metrics.command import CommandFiles
from aigc_pipeline.records import EvalReport
from aigc_pipeline.stages import evaluate as stage
from aigc_pipeline.stages.evaluate import EvaluateConfig, evaluate


def test_settings_reach_what_is_asked_and_what_is_tolerated():
    config = EvaluateConfig(
        num_seeds=3, total_samples=77, batch_size=16, network="small", doses=(0.2, 0.3), dose=0.4, loss_weights=(0.6,),
        loss_weight=0.7, min_selection=88, num_selection_seeds=4, num_cas_seeds=5, learning_shares=(0.1, 0.9),
        max_copy_share=0.06, min_copying_z=-2.5, max_nearer_share=0.8,
    )  # fmt: skip

    assert asdict(config.question()) == {
        "options": {
            "doses": (0.2, 0.3), "loss_weights": (0.6,), "default_dose": 0.4, "default_weight": 0.7, "num_seeds": 4
        },
        "min_selection": 88, "num_seeds": 3, "num_cas_seeds": 5, "total_samples": 77, "batch_size": 16,
        "network": "small", "learning_shares": (0.1, 0.9),
    }  # fmt: skip
    assert asdict(config.limits()) == {"max_copy_share": 0.06, "min_copying_z": -2.5, "max_nearer_share": 0.8}


@pytest.mark.parametrize("shares", [(0.5,), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0)])
def test_a_learning_curve_of_fewer_than_two_shares_is_refused(shares):
    with pytest.raises(ValidationError, match="two or more different shares between 0 and 1"):
        EvaluateConfig(learning_shares=shares)


def test_a_command_cannot_decide_where_there_is_none():
    with pytest.raises(ValidationError, match=r"set evaluate\.command\.argv"):
        EvaluateConfig(decide_by="command")


@pytest.fixture
def report(tiny_run, tmp_path):
    """Evaluate the tiny run as briefly as can be."""

    def run() -> EvalReport:
        config = EvaluateConfig(
            total_samples=64, network="small", num_seeds=2, num_cas_seeds=1, num_subsamples=2, learning_shares=()
        )
        done, context = tiny_run.done, tiny_run.context.for_stage("evaluate", 1, "f", tmp_path)
        return evaluate(
            context,
            config,
            CommandFiles(),
            done.splits,
            done.embeddings,
            done.judge,
            done.candidates,
            done.scored,
            done.filtered,
        )

    return run


@pytest.mark.parametrize("failed", [False, True])
def test_a_failed_screen_is_on_record(report, monkeypatch, failed):
    screen = stage.screen_for_copies
    monkeypatch.setattr(stage, "screen_for_copies", lambda *a, **b: replace(screen(*a, **b), failed=failed))

    assert report().memorised is failed


def test_a_verdict_is_the_first_opening_of_every_sample_of_the_test_role(report, tiny_run, tmp_path):
    verdict = report().verdict
    test = read_table(tiny_run.context.files_of(tiny_run.done.splits) / "test.arrow")["sample_id"].to_pylist()
    openings = read_table(tmp_path / "openings.arrow").to_pydict()

    assert verdict is not None
    assert verdict.test_opening == 1
    assert dict(zip(openings["sample_id"], openings["opening"], strict=True)) == dict.fromkeys(test, 1)
