"""The whole uplift question on points whose truth is known: does the verdict see help, and only help?"""

import numpy as np
import pytest
import torch

from aigc_pipeline.data.loader import LabelledCells, concatenate
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.metrics import downstream
from aigc_pipeline.metrics.downstream import Arm, Budget, balanced_accuracy, class_prior, fit_downstream, predict
from aigc_pipeline.metrics.verdict import decide
from aigc_pipeline.modalities import VectorSpec
from aigc_pipeline.training import devices
from aigc_pipeline.training.batch import Batch

SIZE = 20  # in two dimensions three points already tell a classifier all it needs
SPEC = VectorSpec(num_values=SIZE, scale=1.2)
MEANS = np.random.default_rng(9).standard_normal((3, SIZE)) * 0.55
CPU = torch.device("cpu")


def draw(counts: dict[int, int], seed: int, *, shuffle_labels: bool = False) -> LabelledCells:
    generator = np.random.default_rng(seed)
    points = np.concatenate(
        [MEANS[label] + generator.standard_normal((n, SIZE)) for label, n in counts.items()]
    ).astype(np.float32)
    labels = np.repeat(np.array(list(counts), np.int64), list(counts.values()))
    labels = generator.permutation(labels) if shuffle_labels else labels
    return LabelledCells([f"{seed}-{i}" for i in range(len(points))], labels, cells_from_numpy(points))


def correct(arm: Arm, real: LabelledCells, synthetic: LabelledCells | None, test: LabelledCells) -> np.ndarray:
    rows = []
    for seed in range(5):
        budget = Budget(12_000, 64, seed, CPU)
        network = fit_downstream(arm, real, synthetic, spec=SPEC, num_classes=3, budget=budget)
        rows.append(predict(network, test, SPEC, CPU) == test.labels)
    return np.stack(rows)


@pytest.fixture(scope="module")
def starved():
    """Two classes of 300 and one of 4; a balanced test of 600; what the best loss makes of that alone."""
    real, test = draw({0: 300, 1: 300, 2: 4}, 0), draw({0: 200, 1: 200, 2: 200}, 1)
    baseline = Arm("balanced_softmax", "balanced_softmax")
    return real, test, correct(baseline, real, None, test)


def ask(starved, synthetic: LabelledCells):
    real, test, baseline = starved
    treated = correct(Arm("treated", "balanced_softmax", dose=0.25), real, synthetic, test)
    return decide(baseline, treated, test.labels, baseline_name="balanced_softmax", dose=0.25, loss_weight=1.0)


def test_a_perfect_generator_on_a_starved_class_helps(starved):
    verdict = ask(starved, draw({2: 300}, 2))

    assert verdict.outcome == "helps"


def test_points_with_shuffled_labels_do_not_help(starved):
    verdict = ask(starved, draw({0: 100, 1: 100, 2: 100}, 3, shuffle_labels=True))

    assert verdict.outcome != "helps"


def test_copies_of_what_is_there_do_not_help(starved):
    real, *_ = starved
    rare = real.take(np.flatnonzero(real.labels == 2))
    verdict = ask(starved, concatenate(*[rare] * 40))

    assert verdict.outcome != "helps"


def test_the_prior_mixes_real_and_synthetic_by_dose_and_weight():
    real, synthetic = draw({0: 90, 1: 10}, 0), draw({1: 50}, 1)
    prior = class_prior(Arm("x", "balanced_softmax", dose=0.5, loss_weight=0.5), real, synthetic, 2)

    assert prior == pytest.approx(np.array([0.5 * 0.9, 0.5 * 0.1 + 0.25]) / 0.75, abs=1e-6)


def test_the_prior_of_an_oversampled_arm_is_even():
    real = draw({0: 90, 1: 10}, 0)

    assert class_prior(Arm("x", "cross_entropy", is_oversampled=True), real, None, 3).tolist() == [0.5, 0.5, 0.0]


def test_synthetic_rows_fill_their_dose_and_weigh_their_weight_times_their_importance():
    real, synthetic = draw({0: 90, 1: 10}, 0), draw({1: 4}, 1)
    arm, importance = Arm("x", "cross_entropy", dose=0.25, loss_weight=0.5), np.array([0.4, 1.6, 1, 1], np.float32)
    sampler, weights = downstream._batches(arm, real.labels, synthetic, importance, CPU)
    rows = sampler(0, 64, torch.Generator())

    assert weights.tolist() == pytest.approx([1.0] * 100 + [0.2, 0.8, 0.5, 0.5])
    assert int((rows >= 100).sum()) == 16


def test_a_resampled_arm_draws_real_classes_alike_and_synthetic_ones_as_they_are():
    real, synthetic = draw({0: 90, 1: 10}, 0), draw({0: 1, 1: 3}, 1)
    arm = Arm("x", "cross_entropy", dose=0.5, is_resampled=True)
    sampler, _ = downstream._batches(arm, real.labels, synthetic, None, CPU)
    rows = sampler(0, 20_000, torch.Generator())

    labels = np.concatenate([real.labels, synthetic.labels])[rows]
    assert labels[rows < 100].mean() == pytest.approx(0.5, abs=0.03)
    assert labels[rows >= 100].mean() == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("loss", ["cross_entropy", "class_weights", "balanced_softmax"])
def test_each_loss_is_its_formula(loss):
    """Balanced softmax adds the log of the prior to the logits; class weights divide by it; weights are shares of the loss."""
    logits = torch.tensor([[0.5, -1.0, 0.2], [1.0, 0.0, 0.0], [-0.3, 0.3, 2.0]])
    labels, weights, prior = [0, 2, 2], [1.0, 0.5, 2.0], [0.7, 0.2, 0.1]
    objective = downstream._Objective(SPEC, Arm("x", loss, is_varied=False), torch.tensor(prior))
    batch = Batch(torch.zeros(3, SIZE), torch.tensor(labels), torch.tensor(weights), None, 0.0)
    found = objective({"model": lambda _: logits}, batch)[0]

    total = mass = 0.0
    for row, label, weight in zip(logits.numpy().astype(float), labels, weights, strict=True):
        row = row + (np.log(prior) if loss == "balanced_softmax" else 0)
        weight /= prior[label] if loss == "class_weights" else 1
        total += weight * (np.log(np.exp(row).sum()) - row[label])
        mass += weight
    assert float(found) == pytest.approx(total / mass, rel=1e-5)


def test_balanced_accuracy_is_the_mean_recall():
    assert balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx(0.75)


def test_rows_too_large_for_the_device_wait_in_main_memory(monkeypatch):
    trained_on = []
    monkeypatch.setattr(devices, "free_bytes", lambda _: 0)
    monkeypatch.setattr(downstream, "ClassPower", lambda *_: None)  # counts, which meta tensors cannot
    monkeypatch.setattr(downstream, "train", lambda *given, **_: trained_on.append(given[2]))
    budget = Budget(64, 64, 0, torch.device("meta"))

    fit_downstream(Arm("plain", "cross_entropy"), draw({0: 4, 1: 4}, 0), None, spec=SPEC, num_classes=2, budget=budget)

    assert [(data.x.device.type, data.device.type) for data in trained_on] == [("cpu", "meta")]
