"""Each setting reaches what it is called after."""

from dataclasses import asdict

import pytest
from pydantic import ValidationError

from aigc_pipeline.stages.evaluate import EvaluateConfig


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
