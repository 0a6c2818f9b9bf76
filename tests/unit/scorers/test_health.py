import numpy as np
import pytest

from aigc_pipeline.scorers.health import complaints, measure
from aigc_pipeline.stages.calibrate import CalibrateConfig

LIMITS = CalibrateConfig().limits()
HEALTHY = {"auc": 0.8, "z": 0.5, "excess_ece": 0.01, "mean_ratio": 1.1, "effective_share": 0.4}


def test_a_healthy_critic_has_no_complaint():
    assert complaints(HEALTHY, LIMITS) == ()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"auc": 0.97}, "separates real from generated"),
        ({"z": -4.0}, "not calibrated"),
        ({"excess_ece": 0.09}, "more than chance explains"),
        ({"mean_ratio": 0.3}, "mean density ratio"),
        ({"effective_share": 0.02}, "handful of modes"),
    ],
)
def test_each_failed_check_blocks_with_its_number_and_a_remedy(change, said):
    (complaint,) = complaints(HEALTHY | change, LIMITS)

    assert said in complaint
    assert any(remedy in complaint for remedy in ("Train longer", "check the source", "calibrate.calibrator"))


def test_true_log_odds_of_two_gaussians_are_healthy_and_doubled_ones_are_not():
    generator = np.random.default_rng(0)
    x = np.r_[generator.normal(0, 1, 3_000), generator.normal(1, 1, 6_000)]
    labels, is_real = np.zeros(9_000, np.int64), np.arange(9_000) < 3_000
    truth = 0.5 - x

    assert measure(truth, labels, is_real, LIMITS, seed=0).complaints == ()
    assert measure(3 * truth + 1, labels, is_real, LIMITS, seed=0).complaints != ()


def test_a_critic_that_cannot_tell_is_healthy_but_not_informative():
    labels, is_real = np.zeros(900, np.int64), np.arange(900) < 300
    x = np.random.default_rng(0).normal(is_real, 1)

    blind = measure(np.zeros(900), labels, is_real, LIMITS, seed=0)
    assert (blind.complaints, blind.is_informative) == ((), False)
    assert measure(x - 0.5, labels, is_real, LIMITS, seed=0).is_informative
