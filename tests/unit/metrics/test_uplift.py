import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.metrics.uplift import (
    BASELINES,
    Options,
    Pool,
    Trial,
    Trials,
    accuracy_estimate,
    choose_baseline,
    choose_option,
    copies_of,
    default_choice,
)
from aigc_pipeline.modalities import ImageSpec

OPTIONS = Options(doses=[0.25], loss_weights=[0.5], default_dose=0.25, default_weight=0.5, num_seeds=2)


@pytest.mark.parametrize(("num_items", "classes"), [(1, ("rare", "common")), (4, ("rare", "common")), (5, ("common",))])
def test_a_class_gives_up_its_rows_only_where_enough_of_its_items_are_lost(num_items, classes):
    labels = np.array([0] * num_items + [1] * 300)
    samples = LabelledCells([str(i) for i in range(len(labels))], labels, cells_from_numpy(np.zeros((len(labels), 1))))
    without = np.ones((2, len(labels)), bool)
    treated = without & (labels == 1)
    trials = SimpleNamespace(of_arms=lambda arms, *_: [np.where(treated, labels, -1)] * len(arms))
    pool = Pool(samples, np.ones(len(labels), np.float32))

    choice, _ = choose_option(
        trials, (BASELINES[0], without), {"generated": pool}, samples, samples, OPTIONS, ("rare", "common")
    )

    assert choice.classes == classes


def rows_of(labels: np.ndarray) -> LabelledCells:
    return LabelledCells([str(i) for i in range(len(labels))], labels, cells_from_numpy(np.zeros((len(labels), 1))))


def test_the_baseline_is_the_arm_that_does_best_on_selection():
    labels = np.arange(100) % 2
    selection = rows_of(labels)
    hits = {"real": 60, "real_and_classic": 80, "smote": 70}

    def of_arms(arms, *_):
        return [np.stack([np.where(np.arange(100) < hits[arm.name], labels, -1)] * 2) for arm, _ in arms]

    arms = [arm for arm in BASELINES if arm.name in hits]
    arm, correct = choose_baseline(SimpleNamespace(of_arms=of_arms), arms, selection, selection, 2)

    assert arm.name == "real_and_classic"
    assert correct.sum(1).tolist() == [80, 80]


def test_mix_and_dose_are_tried_at_the_default_weight_and_other_weights_at_the_best_of_them():
    """Of two mixes the second does better, best at its larger dose, and there at the smaller weight."""
    labels = np.arange(100) % 2
    selection = rows_of(labels)
    pools = {mix: Pool(selection, np.ones(100, np.float32)) for mix in ("generated", "classic")}
    tried = []

    def of_arms(arms, *_):
        found = []
        for arm, pool in arms:
            mix = "classic" if pool is pools["classic"] else "generated"
            tried.append((mix, arm.dose, arm.loss_weight))
            hits = 60 + 10 * (mix == "classic") + 5 * (arm.dose == 0.4) + 5 * (arm.loss_weight == 0.3)
            found.append(np.stack([np.where(np.arange(100) < hits, labels, -1)] * 2))
        return found

    options = Options(doses=[0.1, 0.4], loss_weights=[0.3, 1.0], default_dose=0.1, default_weight=1.0, num_seeds=2)
    choice, doses = choose_option(
        SimpleNamespace(of_arms=of_arms), (BASELINES[0], np.ones((2, 100), bool) & (np.arange(100) < 50)), pools,
        selection, selection, options, ("cat", "dog"),
    )  # fmt: skip

    assert tried == [(mix, dose, 1.0) for mix in pools for dose in (0.1, 0.4)] + [("classic", 0.4, 0.3)]
    assert (choice.mix, choice.dose, choice.loss_weight, choice.on_selection) == ("classic", 0.4, 0.3, True)
    assert [(each.mix, each.dose, each.loss_weight) for each in doses] == tried
    assert options.num_trainings(num_baselines=0, num_mixes=2) == 2 * len(tried)


def test_a_default_weight_that_is_no_option_is_tried_beside_all_of_them():
    options = Options(doses=[0.1], loss_weights=[0.3, 1.0], default_dose=0.1, default_weight=0.5, num_seeds=2)

    assert options.num_trainings(num_baselines=1, num_mixes=1) == 2 * (1 + 1 + 2)
    assert options.num_trainings(num_baselines=1, num_mixes=0) == 2


def test_the_control_has_as_many_real_rows_of_each_class():
    real = rows_of(np.repeat([0, 1, 2], [5, 3, 4]))
    pool = Pool(rows_of(np.array([2, 0, 0, 2, 2])), np.full(5, 2, np.float32))
    control = copies_of(real, pool, np.random.default_rng(0))

    assert control.rows.labels.tolist() == [2, 0, 0, 2, 2]
    assert all(real.labels[int(row)] == label for row, label in zip(control.rows.ids, control.rows.labels, strict=True))
    assert control.importance.tolist() == [1] * 5


def test_a_class_whose_rows_could_not_be_tried_keeps_them():
    """All of them made from selection samples: no comparison there may see them, and none says that they cost recall."""
    labels = np.array([0] * 20 + [1] * 300)
    samples = LabelledCells([str(i) for i in range(len(labels))], labels, cells_from_numpy(np.zeros((len(labels), 1))))
    without = np.ones((2, len(labels)), bool)
    trials = SimpleNamespace(of_arms=lambda arms, *_: [np.stack([labels] * 2)] * len(arms))
    pool = Pool(samples, np.ones(len(labels), np.float32))
    tried = {"classic": pool.of_classes(np.array([1]))}

    choice, _ = choose_option(
        trials,
        (BASELINES[0], without),
        tried,
        samples,
        samples,
        OPTIONS,
        ("rare", "common"),
        accepted={"classic": pool},
    )

    assert choice.classes == ("rare", "common")


def test_an_accuracy_lies_within_what_is_possible():
    labels = np.array([0, 0, 0, 1, 1])
    found = accuracy_estimate(np.array([[True, True, True, True, True], [True, True, True, False, True]]), labels)

    assert found.value == pytest.approx(0.875)
    assert 0 < found.ci_low < found.value
    assert found.ci_high == 1


def test_the_interval_of_an_accuracy_covers_items_where_seeds_agree():
    correct = np.array([[True, True, True, False, True, True, False, False]] * 2)
    found = accuracy_estimate(correct, np.repeat([0, 1], 4))
    items = (3 / 4 * 1 / 4 / 4 + 1 / 2 * 1 / 2 / 4) / 2**2

    assert found.value == pytest.approx((0.75 + 0.5) / 2)
    assert found.ci_high - found.value == pytest.approx(1.96 * np.sqrt(items))


def test_the_default_names_the_classes_that_have_rows():
    labels = np.array([1, 1, 2])
    samples = LabelledCells(["a", "b", "c"], labels, cells_from_numpy(np.zeros((3, 1))))
    pool = Pool(samples, np.ones(3, np.float32))

    choice = default_choice(BASELINES[0], {"generated": pool}, OPTIONS, ("cat", "dog", "owl"))

    assert choice.classes == ("dog", "owl")


SPEC = ImageSpec(height=8, width=8, channels=1)


def noisy(number: int, seed: int) -> LabelledCells:
    pixels = np.random.default_rng(seed).integers(0, 256, (number, 8, 8, 1)).astype(np.uint8)
    labels = np.arange(number) % 2
    pixels[labels == 1, :4] //= 3
    return LabelledCells([f"{seed}-{i}" for i in range(number)], labels, cells_from_numpy(pixels))


def trials(total_samples: int, ticks: list[int], seed_for=lambda _purpose, number: number) -> Trials:
    return Trials(SPEC, 2, total_samples, 16, torch.device("cpu"), seed_for, None, lambda: ticks.append(len(ticks)))


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_trainings_side_by_side_predict_what_they_predict_one_after_the_other():
    real, target, pool = noisy(40, 0), noisy(200, 1), Pool(noisy(20, 2), np.ones(20, np.float32))
    arms = [(arm, None) for arm in BASELINES] + [(BASELINES[1], pool)]
    seeds = [2, 1, 2, 1, 1, 1, 3]
    ticks: list[int] = []

    together = trials(320, ticks).of_arms(arms, real, target, "uplift", seeds)

    assert [rows.shape for rows in together] == [(n, 200) for n in seeds]
    assert len(ticks) == sum(seeds)
    torch.set_num_threads(1)
    for (arm, rows), n, found in zip(arms, seeds, together, strict=True):
        alone = [trials(320, []).predict([Trial(arm, real, rows, target, "uplift", s)])[0] for s in range(n)]
        np.testing.assert_array_equal(found, np.stack(alone))


@pytest.mark.usefixtures("two_threads")
def test_a_training_that_nobody_waits_for_ends_at_once():
    def seed_for(_purpose: str, number: int) -> int:
        if number == 0:
            time.sleep(0.5)  # the other one trains by now
            msg = "no seed"
            raise ValueError(msg)
        return number

    started = time.monotonic()
    with pytest.raises(ValueError, match="no seed"):
        trials(10**9, [], seed_for).predictions(BASELINES[0], noisy(40, 0), None, noisy(8, 1), "uplift", 2)

    assert time.monotonic() - started < 60
