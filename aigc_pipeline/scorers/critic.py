"""The post-hoc critic: L2 logistic regression on encoder features and D's logit, calibrated on out-of-fold scores.

Why not D alone: it memorises its training samples, a relativistic loss gives it no zero and a free offset per class,
and a critic fitted afterwards separates better. Not on raw cells: there it hunts texture.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from aigc_pipeline.scorers.acceptance import acceptance_probability, discriminator_probability
from aigc_pipeline.scorers.base import Columns, JudgeState, ScoringBatch, TrainReference, percentile
from aigc_pipeline.scorers.calibrators import CALIBRATORS, calibrated

LOG_RATIO_LIMIT = 8.0
_INVERSE_PENALTY = 0.1
_FOLDS = 5


@dataclass(frozen=True)
class FittedCritic:
    """Weights of the critic and raw out-of-fold scores of the rows it was fitted on."""

    weights: NDArray[np.float64]
    bias: float
    out_of_fold: NDArray[np.float64]


def fit_critic(
    features: NDArray[np.floating],
    is_real: NDArray[np.bool_],
    weights: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    seed: int,
) -> FittedCritic:
    """Fit 5 models, each without one fold; the critic is their mean, so that its scores have the scale of theirs.

    Args:
        features: `[n, d]`, standardized.
        weights: sample weights under which reals and fakes of each class weigh the same, so that the prior is 1/2.
        labels: class of each row; folds have equal shares of every class on both sides.
    """
    raw, models = np.zeros(len(features)), []
    folds = even_folds(2 * labels + is_real, seed)
    for fold in range(_FOLDS):
        fit, held_out = folds != fold, folds == fold
        model = _logistic(features[fit], is_real[fit], weights[fit])
        raw[held_out] = model.decision_function(features[held_out])
        models.append(model)
    mean = np.mean([model.coef_[0] for model in models], axis=0)
    return FittedCritic(mean, float(np.mean([model.intercept_[0] for model in models])), raw)


def even_folds(strata: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return a fold per row: every stratum, and the whole, spread evenly at random.

    Where a fold lacks a class that the others have, its own model leans against it, and out-of-fold scores look worse
    than the critic is: with a weak critic the calibrator then halves its log odds (ADR 8).
    """
    coins = np.random.default_rng(seed).random(len(strata))
    folds = np.empty(len(strata), np.int64)
    folds[np.lexsort((coins, strata))] = np.arange(len(strata)) % _FOLDS
    return folds


def class_balanced_weights(labels: NDArray[np.int64], is_real: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return weights: 1 for reals, and for fakes so much that each class has equal mass on both sides.

    Fakes of a class without reals get weight 0: there is nothing to compare them with.
    """
    num_fakes = np.bincount(labels[~is_real], minlength=int(labels.max()) + 1)
    return np.where(is_real, (num_fakes > 0)[labels].astype(float), fake_weights(labels, is_real))


def fake_weights(labels: NDArray[np.int64], is_real: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return, for every row, reals over fakes of its class: what a fake of that class weighs, `[n]`."""
    num_classes = int(labels.max()) + 1
    real, fake = (np.bincount(labels[side], minlength=num_classes) for side in (is_real, ~is_real))
    return np.divide(real, fake, out=np.zeros(num_classes), where=fake > 0)[labels]


def critic_inputs(batch: ScoringBatch, state: JudgeState) -> NDArray[np.float64]:
    """Return the critic's input rows: features, and the centered logit where it is used."""
    features = batch.features.astype(np.float64)
    if not state.uses_d_logit or batch.d_logit is None:
        return features
    return np.column_stack([features, center_logit(batch.d_logit, batch.labels, state.d_offset, state.d_scale)])


def center_logit(
    d_logit: NDArray[np.floating], labels: NDArray[np.int64], offset: NDArray[np.float64], scale: float
) -> NDArray[np.float64]:
    """Take the per-class offset out of D's logit and bring it to unit spread."""
    return np.asarray((d_logit - offset[labels]) / scale, np.float64)


def calibrated_logit(batch: ScoringBatch, state: JudgeState) -> NDArray[np.float64]:
    """Return log p/q before normalization, unclipped."""
    raw = critic_inputs(batch, state) @ state.critic_weights + state.critic_bias
    return calibrate_scores(raw, batch.labels, state)


def calibrate_scores(raw: NDArray[np.float64], labels: NDArray[np.int64], state: JudgeState) -> NDArray[np.float64]:
    """Return calibrated log odds of raw critic scores."""
    return calibrated(
        CALIBRATORS[state.calibrator], raw, labels, state.calibration, state.class_calibration, state.class_share
    )


def log_ratio(batch: ScoringBatch, state: JudgeState) -> NDArray[np.float64]:
    """Return log p(x|y)/q(x|y), normalized so that ratios average 1 over the pilot's fakes of a class, clipped to +-8."""
    centered = calibrated_logit(batch, state) - state.log_mean_ratio[batch.labels]
    return np.clip(centered, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


class Critic:
    """Adds `p_real`, `log_density_ratio`, `real_percentile` and `accept_probability`.

    All are null without a critic, for varied real samples, and for classes that the critic saw no real sample of: it is
    shown none of small classes whose samples are made from real ones.
    """

    columns: ClassVar[tuple[str, ...]] = ("p_real", "log_density_ratio", "real_percentile", "accept_probability")

    def score(self, batch: ScoringBatch, state: JudgeState, reference: TrainReference) -> Columns:
        """Return the four columns."""
        del reference
        if not len(state.critic_weights):
            return {name: np.full(len(batch.labels), np.nan) for name in self.columns}
        logit = calibrated_logit(batch, state)
        columns = {
            "p_real": p_of(logit),
            "log_density_ratio": log_ratio(batch, state),
            "real_percentile": percentile(logit, state.holdout_logits),
            "accept_probability": accept_probability(batch, state),
        }
        judged = state.judges(batch)
        return {name: np.where(judged, values, np.nan) for name, values in columns.items()}


def accept_probability(batch: ScoringBatch, state: JudgeState) -> NDArray[np.float64]:
    """Return the probability with which rejection sampling accepts; NaN where the critic may not filter."""
    if not state.filters_by_probability:
        return np.full(len(batch.labels), np.nan)
    normalized, constant = log_ratio(batch, state), state.acceptance_constant[batch.labels]
    accept = (
        discriminator_probability(normalized, constant, state.acceptance_peak[batch.labels])
        if state.acceptance_rule == "discriminator"
        else acceptance_probability(np.exp(normalized), constant)
    )
    return np.where(p_of(calibrated_logit(batch, state)) >= state.min_p_real, accept, 0.0)


def p_of(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probability of log odds."""
    return np.asarray(expit(np.clip(logit, -50, 50)), np.float64)


def _logistic(
    features: NDArray[np.floating], is_real: NDArray[np.bool_], weights: NDArray[np.float64]
) -> LogisticRegression:
    model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000)
    return model.fit(features, is_real, sample_weight=weights)
