"""Each calibrator against a planted curve, and the shrinkage of small classes."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from aigc_pipeline.scorers.calibrators import CALIBRATORS, Platt, calibrated, fit_per_class

CURVES = {
    "platt": lambda s: 0.7 * s - 2,
    "temperature": lambda s: 0.5 * s,
    "beta": lambda s: 1.5 * np.log(expit(s)) - 0.4 * np.log(expit(-s)) + 0.2,
    "isotonic": lambda s: np.sign(s - 1) * np.abs(s - 1) ** 1.5 / 2,
}
N = 40_000


def plant(curve, n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    scores = generator.normal(1, 2, n)
    return scores, generator.random(n) < expit(curve(scores)), np.ones(n)


@pytest.mark.parametrize("kind", sorted(CALIBRATORS))
def test_each_calibrator_recovers_its_planted_curve(kind):
    calibrator, curve = CALIBRATORS[kind], CURVES[kind]
    parameters = calibrator.fit(*plant(curve))
    inner = np.linspace(-2.5, 4.5, 200)

    assert np.abs(expit(calibrator.logit(inner, parameters)) - expit(curve(inner))).max() < 0.05


@pytest.mark.parametrize("kind", sorted(CALIBRATORS))
def test_no_calibrator_changes_the_order_of_scores_or_makes_infinities(kind):
    calibrator = CALIBRATORS[kind]
    parameters = calibrator.fit(*plant(CURVES[kind], 300))
    logit = calibrator.logit(np.linspace(-30, 30, 2_000), parameters)

    assert np.isfinite(logit).all()
    assert (np.diff(logit) >= 0).all()


@pytest.mark.parametrize("kind", sorted(CALIBRATORS))
def test_scores_that_are_all_zero_give_no_steep_curve(kind):
    scores, is_real = np.zeros(40), np.arange(40) < 20
    parameters = CALIBRATORS[kind].fit(scores, is_real, np.ones(40))

    assert np.abs(CALIBRATORS[kind].logit(np.linspace(-3, 3, 7), parameters)).max() < 5


def test_isotonic_ends_are_no_surer_than_the_number_of_samples_allows():
    scores, is_real = np.arange(100.0), np.arange(100) >= 50
    parameters = CALIBRATORS["isotonic"].fit(scores, is_real, np.ones(100))
    ends = CALIBRATORS["isotonic"].logit(np.array([0.0, 99.0]), parameters)

    assert expit(ends) == pytest.approx([1 / 102, 101 / 102], rel=0.05)


def test_isotonic_calibration_has_no_ties():
    parameters = CALIBRATORS["isotonic"].fit(*plant(CURVES["platt"], 300))

    assert (np.diff(CALIBRATORS["isotonic"].logit(np.linspace(-30, 30, 2_000), parameters)) > 0).all()


def test_platt_equals_scikit_learn_without_penalty():
    scores, is_real, _ = plant(CURVES["platt"], 2_000)
    weights = np.random.default_rng(3).uniform(0.2, 2, 2_000)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1_000).fit(
        scores[:, None], is_real, sample_weight=weights
    )

    assert Platt().fit(scores, is_real, weights) == pytest.approx(
        [reference.coef_[0, 0], reference.intercept_[0]], abs=1e-3
    )


def test_an_inverted_critic_is_never_turned_around():
    scores, is_real, weights = plant(lambda s: -s, 1_000)

    assert Platt().fit(scores, is_real, weights)[0] == 0


def test_a_large_class_keeps_its_own_curve_and_a_small_one_is_shrunk_towards_all():
    large, small = plant(lambda s: s + 1.5, 20_000, 1), plant(lambda s: s - 1.5, 60, 2)
    scores, is_real, weights = (np.concatenate(pair) for pair in zip(large, small, strict=True))
    labels = np.repeat([0, 1], [20_000, 60])
    fitted = fit_per_class(Platt(), scores, is_real, weights, labels, num_classes=3, shrinkage=100.0)
    points = np.zeros(3)
    logit = calibrated(Platt(), points, np.array([0, 1, 2]), *fitted)

    assert fitted[2][0] > 0.98
    num_reals = int(is_real[labels == 1].sum())
    assert fitted[2][1] == pytest.approx(num_reals / (num_reals + 100))
    assert fitted[2][2] == 0
    assert logit[0] == pytest.approx(1.5, abs=0.1)
    assert logit[1] < logit[2] - 0.2  # some of its own curve, not all
    assert logit[1] > -1.0


def test_without_shrinkage_all_classes_share_one_curve():
    scores, is_real, weights = plant(CURVES["platt"], 1_000)
    labels = np.arange(1_000) % 2

    assert not fit_per_class(Platt(), scores, is_real, weights, labels, num_classes=2, shrinkage=None)[2].any()
