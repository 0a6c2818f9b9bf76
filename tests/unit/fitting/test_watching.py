from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features import RandomNetwork
from aigc_pipeline.fitting import watching
from aigc_pipeline.fitting.watching import HealthWatch, collapsed, diverging, diversity, mislabeled, overfitted
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.loop import Hooks
from tests.unit.fitting.conftest import SPEC, make_points

TEN_CLASSES = dict.fromkeys(range(10), 6)


def scaled(points: LabelledCells, factor: float) -> LabelledCells:
    x = modality_of(SPEC).to_tensor(points.cells, SPEC) * factor
    return LabelledCells(points.ids, points.labels, modality_of(SPEC).from_tensor(x, SPEC))


@pytest.mark.parametrize("factor", [1.0, 0.5, 0.01])
def test_diversity_is_the_spread_within_classes_as_a_share_of_the_real_one(synthesizer, factor):
    assert diversity(scaled(synthesizer.train, factor), synthesizer) == pytest.approx(factor, rel=1e-5)


def test_a_wrong_center_does_not_count_as_diversity(synthesizer):
    x = modality_of(SPEC).to_tensor(synthesizer.train.cells, SPEC) + torch.tensor([50.0, 0.0])
    moved = LabelledCells(synthesizer.train.ids, synthesizer.train.labels, modality_of(SPEC).from_tensor(x, SPEC))

    assert diversity(moved, synthesizer) == pytest.approx(1.0, rel=1e-3)


def test_classes_of_identical_or_single_samples_say_nothing_about_diversity(synthesizer):
    same = LabelledCells(["a"] * 3, np.zeros(3, np.int64), make_points().take(np.zeros(3, np.int64)).cells)

    assert diversity(make_points(), replace(synthesizer, train=same)) is None


@pytest.mark.parametrize(("ratio", "progress", "is_alarm"), [(0.1, 0.5, True), (0.1, 0.1, False), (0.3, 0.9, False)])
def test_collapse_is_an_alarm_after_a_quarter_of_the_training(ratio, progress, is_alarm):
    assert (collapsed([{"diversity": ratio}], progress) is not None) == is_alarm


@pytest.mark.parametrize(("share", "progress", "is_alarm"), [(0.1, 0.5, True), (0.1, 0.3, False), (0.5, 0.9, False)])
def test_foreign_labels_are_an_alarm_after_a_third_of_the_training(share, progress, is_alarm):
    assert (mislabeled([{"label_agreement": share}], progress, TEN_CLASSES) is not None) == is_alarm


@pytest.mark.parametrize(("earlier", "is_alarm"), [([0.05], False), ([0.05, 0.12], True), ([0.1], True)])
def test_diversity_that_is_still_rising_is_no_alarm(earlier, is_alarm):
    assert (collapsed([{"diversity": each} for each in [*earlier, 0.1]], 0.5) is not None) == is_alarm


@pytest.mark.parametrize(
    ("shares", "is_alarm"),
    [
        ([0.10, 0.15, 0.17], True),
        ([0.22, 0.30, 0.28], False),
        ([0.28], False),
        ([0.90, 0.50, 0.28], True),
        ([0.45, 0.28], False),
        ([0.60, 0.28], True),
    ],
)
def test_hard_classes_that_are_learned_slowly_are_no_alarm(shares, is_alarm):
    """CIFAR-10 after 20,000 samples: 30 %, then 28 %. Sixty samples cannot tell these apart; going back did harm."""
    assert (mislabeled([{"label_agreement": each} for each in shares], 0.5, TEN_CLASSES) is not None) == is_alarm


@pytest.mark.parametrize(("total_samples", "is_alarm"), [(9_000, False), (10_000, True)])
def test_samples_are_judged_when_a_reports_worth_was_shown(synthesizer, total_samples, is_alarm):
    one_point = torch.zeros(1, 2)
    networks = {**synthesizer.networks, "generator": lambda _z, labels: one_point.expand(len(labels), 2)}
    points = make_points()
    encoder = RandomNetwork(num_features=8).fit(
        points, points, spec=SPEC, num_classes=2, seed=0, device=torch.device("cpu"), hooks=Hooks()
    )

    found = HealthWatch(synthesizer, encoder, 0, np.arange(2), total_samples)(networks, [{}], 0.5)

    assert found.numbers["diversity"] == pytest.approx(0, abs=1e-3)
    assert (found.alarm is not None) == is_alarm


def test_guessing_is_one_in_so_many_classes_however_many_conditions_are_told(synthesizer, monkeypatch):
    train = synthesizer.train.labelled(np.arange(80) % 10)  # two classes at five sites each
    networks = {"generator": lambda z, _labels: z[:, :2]}
    asked: list[LabelledCells] = []
    monkeypatch.setattr(watching, "agreement", lambda made, _: asked.append(made) or 0.28)
    watch = HealthWatch(replace(synthesizer, train=train), SimpleNamespace(has_head=True), 0, np.arange(10) % 2, 10_000)

    assert "no more than guessing" in watch(networks, [{}], 0.5).alarm
    assert np.bincount(asked[0].labels).tolist() == [30, 30]


def test_an_exploding_penalty_is_an_alarm():
    assert diverging([{"discriminator/penalty": 101.0}]) is not None
    assert diverging([{"discriminator/penalty": 99.0}]) is None
    assert diverging([{"velocity/loss": 1e9}]) is None


def make_history(gaps, signal: float):
    return [{"discriminator/logit_gap": gap, "overfitting": signal} for gap in gaps]


@pytest.mark.parametrize(
    ("gaps", "signal", "is_alarm"),
    [(range(12), 0.9, True), (range(12), 0.5, False), ([*range(11), 3], 0.9, False), (range(5), 0.9, False)],
)
def test_a_lead_that_grows_ten_times_while_d_knows_its_samples_is_an_alarm(gaps, signal, is_alarm):
    assert (overfitted(make_history([float(gap) for gap in gaps], signal)) is not None) == is_alarm
