import pytest
import torch

from aigc_pipeline.training.strength import Adaptation, overfitting


@pytest.mark.parametrize(
    ("held_out", "expected"),
    [(2.0, 0.0), (1.0, 0.5), (0.0, 1.0), (3.0, 0.0), (-1.0, 1.0)],
)
def test_overfitting_is_how_far_held_out_samples_lie_from_training_samples_towards_fakes(held_out, expected):
    train, fake = torch.tensor([1.5, 2.5]), torch.tensor([0.0, 0.0])

    assert overfitting(train, torch.tensor([held_out]), fake) == pytest.approx(expected)


def test_overfitting_is_zero_where_d_does_not_tell_training_samples_from_fakes():
    assert overfitting(torch.ones(3), torch.zeros(3), torch.ones(3)) == 0.0


@pytest.mark.parametrize(("signal", "expected"), [(0.9, 0.35), (0.45, 0.3), (0.1, 0.25)])
def test_strength_follows_the_signal_by_samples_over_horizon(signal, expected):
    adaptation = Adaptation(lambda _: signal, every_samples=1_000, horizon_samples=20_000)

    assert adaptation.next(0.3, signal) == pytest.approx(expected)


def test_strength_stays_between_zero_and_its_limit():
    adaptation = Adaptation(lambda _: 0.0, every_samples=1_000, horizon_samples=1_000)

    assert adaptation.next(0.5, 1.0) == 0.8
    assert adaptation.next(0.5, 0.0) == 0.0
