import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from aigc_pipeline.scorers.calibration import (
    area_under_curve,
    brier,
    effective_share,
    excess_calibration_error,
    expected_calibration_error,
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


def test_calibrated_probabilities_pass_every_check(planted):
    scores, is_real, weights = planted
    p = 1 / (1 + np.exp(-(0.7 * scores - 2)))

    assert expected_calibration_error(p, is_real, weights) < 0.01
    assert abs(z_statistic(p, is_real, weights)) < 3
    assert all(abs(mean - share) < 0.03 for mean, share, _ in reliability_curve(p, is_real, weights))


def test_excess_ece_of_true_probabilities_is_nil_where_plain_ece_is_not():
    generator = np.random.default_rng(0)
    plain, excess = [], []
    for seed in range(40):
        p = generator.uniform(0.2, 0.8, 150)
        is_real = generator.random(150) < p
        plain.append(expected_calibration_error(p, is_real, np.ones(150)))
        excess.append(excess_calibration_error(p, is_real, np.ones(150), seed=seed))

    assert np.mean(plain) > 0.05
    assert np.mean(excess) == pytest.approx(0, abs=0.01)


def test_more_fakes_than_reals_shift_neither_z_nor_excess_ece():
    generator = np.random.default_rng(1)
    p_half = generator.uniform(0.1, 0.9, 60_000)
    is_real = generator.random(60_000) < p_half
    keep = is_real | (generator.random(60_000) < 0.25)  # a quarter of the fakes, each of which then weighs 4
    per_fake = np.full(int(keep.sum()), 4.0)

    assert abs(z_statistic(p_half[keep], is_real[keep], per_fake)) < 3
    assert excess_calibration_error(p_half[keep], is_real[keep], per_fake, seed=0) == pytest.approx(0, abs=0.005)


def test_z_of_true_probabilities_is_standard_normal_also_where_fakes_weigh_more():
    generator, found = np.random.default_rng(2), []
    for _ in range(1_500):
        p = generator.uniform(0.05, 0.95, 300)
        is_real = generator.random(300) < 4 * p / (4 * p + 1 - p)  # a fake in four
        found.append(z_statistic(p, is_real, np.full(300, 4.0)))

    assert np.mean(found) == pytest.approx(0, abs=0.1)
    assert np.std(found) == pytest.approx(1, abs=0.07)


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


def test_one_extreme_ratio_does_not_decide_the_effective_share():
    ratio = np.r_[np.ones(399), 300.0]

    assert effective_share(ratio) > 0.2  # 0.01 without the cut
    assert effective_share(np.r_[np.full(4, 100.0), np.full(396, 0.01)]) < 0.02
