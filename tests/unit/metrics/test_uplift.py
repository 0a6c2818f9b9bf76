from types import SimpleNamespace

import numpy as np
import pytest

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.metrics.uplift import BASELINES, Options, Pool, accuracy_estimate, choose_option, default_choice

OPTIONS = Options(doses=[0.25], loss_weights=[0.5], default_dose=0.25, default_weight=0.5, num_seeds=2)


@pytest.mark.parametrize(("num_items", "classes"), [(1, ("rare", "common")), (20, ("common",))])
def test_a_class_gives_up_its_rows_only_where_enough_of_its_items_are_lost(num_items, classes):
    labels = np.array([0] * num_items + [1] * 300)
    samples = LabelledCells([str(i) for i in range(len(labels))], labels, cells_from_numpy(np.zeros((len(labels), 1))))
    without = np.ones((2, len(labels)), bool)
    treated = without & (labels == 1)
    trials = SimpleNamespace(correct=lambda *_: treated)
    pool = Pool(samples, np.ones(len(labels), np.float32))

    choice, _ = choose_option(
        trials, (BASELINES[0], without), {"generated": pool}, samples, samples, OPTIONS, ("rare", "common")
    )

    assert choice.classes == classes


def test_an_accuracy_lies_within_what_is_possible():
    labels = np.array([0, 0, 0, 1, 1])
    found = accuracy_estimate(np.array([[True, True, True, True, True], [True, True, True, False, True]]), labels)

    assert found.value == pytest.approx(0.875)
    assert 0 < found.ci_low < found.value
    assert found.ci_high == 1


def test_the_default_names_the_classes_that_have_rows():
    labels = np.array([1, 1, 2])
    samples = LabelledCells(["a", "b", "c"], labels, cells_from_numpy(np.zeros((3, 1))))
    pool = Pool(samples, np.ones(3, np.float32))

    choice = default_choice(BASELINES[0], {"generated": pool}, OPTIONS, ("cat", "dog", "owl"))

    assert choice.classes == ("dog", "owl")
