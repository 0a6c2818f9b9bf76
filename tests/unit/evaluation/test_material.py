"""Which candidates are compared with which real samples: none with the samples it was made from."""

import numpy as np
import pyarrow as pa
import pytest

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.evaluation.material import Material

PARENTS = [["t0"], ["c0"], ["s0"], [], ["t0"]]


@pytest.fixture
def material():
    """Five accepted candidates of one class, varied from one sample of each role, or from none; the last one over quota."""
    points = np.arange(5, dtype=np.float32)[:, None]
    roles = {role: LabelledCells([f"{role[0]}0"], np.zeros(1, np.int64), cells_from_numpy(points[:1])) for role in (
        "train", "calibration", "selection", "test")}  # fmt: skip
    table = pa.table(
        {
            "label": np.zeros(5, np.int64),
            "origin": ["classic"] * 5,
            "parent_ids": PARENTS,
            "class_want": np.full(5, 5),
            "importance_weight": np.ones(5, np.float32),
            "accepted": [True] * 4 + [False],
            "reject_reason": pa.array([None] * 4 + ["class_quota"]),
        }
    )
    candidates = LabelledCells(list("abcde"), np.zeros(5, np.int64), cells_from_numpy(points))
    return Material(None, None, roles, {}, {}, table, candidates, points, None, None)


def test_a_training_that_is_compared_on_selection_sees_nothing_made_from_it(material):
    assert material.pools()["classic"].rows.ids == list("abcd")
    assert material.pools("selection")["classic"].rows.ids == list("abd")


def test_fidelity_leaves_out_what_was_made_from_the_reals_it_compares_with(material):
    assert material.own_method.tolist() == [True, False, False, True, True]
    assert material.good.tolist() == [True, False, False, True, True]


def test_unseen_reals_are_those_that_were_held_back_and_not_of_test(material):
    features = {role: np.full((1, 2), place, np.float32) for place, role in enumerate(material.roles)}
    unseen = Material(**{**vars(material), "judge_features": features}).unseen()

    assert unseen.features[:, 0].tolist() == [1, 2]  # calibration and selection
    assert len(unseen.labels) == 2


def test_no_rows_are_no_mix(material):
    table = material.table.set_column(2, "parent_ids", pa.array([["s0"]] * 5))
    made_from_selection = Material(**{**vars(material), "table": table})

    assert set(made_from_selection.pools()) == {"classic"}
    assert made_from_selection.pools("selection") == {}
