import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from aigc_pipeline.scorers.calibration import (
    area_under_curve,
    brier,
    effective_share,
    expected_calibration_error,
    fit_platt,
    fit_temperature,
    reliability_curve,
    z_statistic,
)


@pytest.fixture
def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    scores = generator.normal(3, 2, 40_000)  # shifted and scaled: the true logit is 0.7 s - 2
    is_real = generator.random(40_000) < 1 / (1 + np.exp(-(0.7 * scores - 2)))
    return scores, is_real, np.ones(40_000)


def test_platt_recovers_a_planted_slope_and_intercept(planted):
    slope, intercept = fit_platt(*planted)

    assert slope == pytest.approx(0.7, abs=0.03)
    assert intercept == pytest.approx(-2, abs=0.08)


def test_calibrated_probabilities_pass_every_check(planted):
    scores, is_real, weights = planted
    p = 1 / (1 + np.exp(-(0.7 * scores - 2)))

    assert expected_calibration_error(p, is_real, weights) < 0.01
    assert abs(z_statistic(p, is_real, weights)) < 3
    assert all(abs(mean - share) < 0.03 for mean, share, _ in reliability_curve(p, is_real, weights))


def test_an_overconfident_score_fails_the_checks(planted):
    scores, is_real, weights = planted
    p = 1 / (1 + np.exp(-(3 * (0.7 * scores - 2) + 1)))

    assert expected_calibration_error(p, is_real, weights) > 0.1
    assert abs(z_statistic(p, is_real, weights)) > 3


def test_auc_and_brier_equal_scikit_learn_with_ties_and_weights(planted):
    scores, is_real, _ = planted
    rounded, weights = np.round(scores), np.random.default_rng(1).uniform(0.1, 2, len(scores))
    p = 1 / (1 + np.exp(-rounded))

    assert area_under_curve(rounded, is_real, weights) == pytest.approx(
        roc_auc_score(is_real, rounded, sample_weight=weights), abs=1e-12
    )
    assert brier(p, is_real, weights) == pytest.approx(brier_score_loss(is_real, p, sample_weight=weights), abs=1e-12)


def test_temperature_undoes_a_planted_scale():
    generator = np.random.default_rng(0)
    logits = generator.normal(0, 2, (20_000, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (p.cumsum(1) > generator.random((20_000, 1))).argmax(1)

    assert fit_temperature(logits * 4, labels) == pytest.approx(4, rel=0.06)


def test_effective_share_is_one_for_equal_weights_and_small_for_one_heavy():
    assert effective_share(np.ones(50)) == pytest.approx(1)
    assert effective_share(np.r_[1000.0, np.zeros(99)]) == pytest.approx(0.01)
