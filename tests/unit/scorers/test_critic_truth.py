"""The critic on two Gaussians whose density ratio is known in closed form."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aigc_pipeline.scorers.base import percentile
from aigc_pipeline.scorers.calibrators import Platt
from aigc_pipeline.scorers.critic import class_balanced_weights, even_folds, fit_critic

SHIFT = np.array([0.8, 0.0])


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Reals from N(0, I), fakes from N(shift, I): log p/q = |shift|^2 / 2 - shift.x, linear in x."""
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, 2)), generator.standard_normal((n, 2)) + SHIFT


def true_log_ratio(x: np.ndarray) -> np.ndarray:
    return SHIFT @ SHIFT / 2 - x @ SHIFT


def calibrated_logit(critic, is_real, weights, points: np.ndarray) -> np.ndarray:
    parameters = Platt().fit(critic.out_of_fold, is_real, weights)
    return Platt().logit(points @ critic.weights + critic.bias, parameters)


@pytest.fixture(scope="module")
def fitted() -> tuple[np.ndarray, np.ndarray]:
    """Calibrated and true logits of unseen points of both kinds."""
    real, fake = draw(2_000, 0)
    features = np.concatenate([real, fake])
    is_real = np.arange(len(features)) < len(real)
    one_class = np.zeros(len(features), np.int64)
    weights = class_balanced_weights(one_class, is_real)
    critic = fit_critic(features, is_real, weights, one_class, seed=0)
    unseen = np.concatenate(draw(5_000, 1))
    return calibrated_logit(critic, is_real, weights, unseen), true_log_ratio(unseen)


def test_p_real_equals_the_true_posterior(fitted):
    estimated, truth = (1 / (1 + np.exp(-logit)) for logit in fitted)

    assert np.abs(estimated - truth).mean() < 0.02
    assert np.abs(estimated - truth).max() < 0.08


def test_the_density_ratio_averages_one_over_fakes(fitted):
    estimated, truth = fitted
    fakes = slice(5_000, None)

    assert np.exp(truth[fakes]).mean() == pytest.approx(1, abs=0.05)
    assert np.exp(estimated[fakes]).mean() == pytest.approx(1, abs=0.08)


def test_an_unequal_number_of_fakes_does_not_shift_the_prior():
    real, fake = draw(1_000, 0)
    more = np.concatenate([fake, draw(4_000, 5)[1]])
    features = np.concatenate([real, more])
    is_real = np.arange(len(features)) < len(real)
    one_class = np.zeros(len(features), np.int64)
    weights = class_balanced_weights(one_class, is_real)
    critic = fit_critic(features, is_real, weights, one_class, seed=0)
    unseen = np.concatenate(draw(5_000, 1))
    logit = calibrated_logit(critic, is_real, weights, unseen)

    assert np.mean(logit - true_log_ratio(unseen)) == pytest.approx(0, abs=0.1)


def test_weights_give_every_class_equal_mass_on_both_sides():
    labels = np.array([0, 0, 1, 0, 1, 1, 1])
    is_real = np.array([True, True, True, False, False, False, False])
    weights = class_balanced_weights(labels, is_real)

    for label in (0, 1):
        assert weights[is_real & (labels == label)].sum() == pytest.approx(weights[~is_real & (labels == label)].sum())


def test_the_critic_is_the_mean_of_models_that_each_never_saw_the_rows_they_score():
    real, fake = draw(60, 0)
    features, is_real = np.concatenate([real, fake]), np.arange(120) < 60
    labels = np.zeros(120, np.int64)
    weights = class_balanced_weights(labels, is_real)
    critic, folds = fit_critic(features, is_real, weights, labels, seed=0), even_folds(labels + is_real, seed=0)
    models = []
    for fold in range(5):
        seen = folds != fold
        model = LogisticRegression(C=0.1).fit(features[seen], is_real[seen], sample_weight=weights[seen])
        assert critic.out_of_fold[~seen] == pytest.approx(model.decision_function(features[~seen]))
        models.append(model)

    assert critic.weights == pytest.approx(np.mean([model.coef_[0] for model in models], axis=0))
    assert critic.bias == pytest.approx(np.mean([model.intercept_[0] for model in models]))


def test_folds_spread_every_stratum_and_the_whole_evenly():
    strata = np.random.default_rng(0).integers(0, 7, 203)
    folds = even_folds(strata, seed=3)

    for stratum in range(7):
        assert np.ptp(np.bincount(folds[strata == stratum], minlength=5)) <= 1
    assert np.ptp(np.bincount(folds, minlength=5)) <= 1
    assert np.array_equal(folds, even_folds(strata, seed=3))
    assert not np.array_equal(folds, even_folds(strata, seed=4))


def test_a_weak_critic_over_ten_distant_classes_is_calibrated_neither_up_nor_down():
    """Folds that lack classes made the slope a quarter too small here."""
    labels, is_real = np.tile(np.repeat(np.arange(10), 30), 3), np.arange(900) < 300
    shift, centers = np.where(np.arange(20) == 15, 0.35, 0.0), 3 * np.eye(10, 20)
    fitted, best = [], []
    for seed in range(20):
        generator = np.random.default_rng(seed)

        def draw_classes(labels, is_real, generator=generator):
            return centers[labels] + generator.standard_normal((len(labels), 20)) + np.outer(~is_real, shift)

        weights = class_balanced_weights(labels, is_real)
        critic = fit_critic(draw_classes(labels, is_real), is_real, weights, labels, seed=seed)
        fitted.append(Platt().fit(critic.out_of_fold, is_real, weights)[0])
        many, kind = np.tile(labels, 10), np.tile(is_real, 10)
        scores = draw_classes(many, kind) @ critic.weights + critic.bias
        best.append(Platt().fit(scores, kind, class_balanced_weights(many, kind))[0])

    assert np.mean(fitted) / np.mean(best) == pytest.approx(1, abs=0.12)


def test_percentile_is_a_conformal_p_value():
    holdout = np.sort(np.random.default_rng(0).standard_normal(199))
    values = percentile(np.random.default_rng(1).standard_normal(20_000), holdout)

    assert values.min() >= 1 / 200
    assert np.mean(values <= 0.1) == pytest.approx(0.1, abs=0.05)


def test_a_tie_with_a_hold_out_real_counts_as_looking_no_less_real():
    assert percentile(np.array([0.5, 1.0, 2.0, 9.0]), np.array([1.0, 2.0, 2.0, 3.0])).tolist() == [0.2, 0.4, 0.8, 1.0]
