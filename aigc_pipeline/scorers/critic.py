"""The post-hoc critic: L2 logistic regression on encoder features and D's logit, Platt-calibrated on out-of-fold scores.

Why not D alone: it memorises its training samples, a relativistic loss gives it no zero and a free offset per class,
and a critic fitted afterwards separates better (filter-eval, section 1.3). Not on raw cells: there it hunts texture.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from aigc_pipeline.scorers.acceptance import acceptance_probability
from aigc_pipeline.scorers.base import Columns, JudgeState, ScoringBatch, TrainReference
from aigc_pipeline.scorers.calibration import fit_platt

LOG_RATIO_LIMIT = 8.0
_INVERSE_PENALTY = 0.1
_FOLDS = 5


@dataclass(frozen=True)
class FittedCritic:
    """Weights of the refitted critic and calibrated out-of-fold logits of the rows it was fitted on."""

    weights: NDArray[np.float64]
    bias: float
    slope: float
    intercept: float
    out_of_fold: NDArray[np.float64]


def fit_critic(
    features: NDArray[np.floating], is_real: NDArray[np.bool_], weights: NDArray[np.float64], *, seed: int
) -> FittedCritic:
    """Fit with 5-fold cross-fitting.

    Args:
        features: `[n, d]`, standardized.
        weights: sample weights under which reals and fakes of each class weigh the same, so that the prior is 1/2.
    """
    raw = np.zeros(len(features))
    for fit, held_out in StratifiedKFold(_FOLDS, shuffle=True, random_state=seed % 2**32).split(features, is_real):
        model = _logistic(features[fit], is_real[fit], weights[fit])
        raw[held_out] = model.decision_function(features[held_out])
    slope, intercept = fit_platt(raw, is_real, weights)
    final = _logistic(features, is_real, weights)
    return FittedCritic(final.coef_[0], float(final.intercept_[0]), slope, intercept, slope * raw + intercept)


def class_balanced_weights(labels: NDArray[np.int64], is_real: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return weights: 1 for reals, and for fakes so much that each class has equal mass on both sides.

    Fakes of a class without reals get weight 0: there is nothing to compare them with.
    """
    num_classes = int(labels.max()) + 1
    real, fake = (np.bincount(labels[side], minlength=num_classes) for side in (is_real, ~is_real))
    per_fake = np.divide(real, fake, out=np.zeros(num_classes), where=fake > 0)
    return np.where(is_real, (fake > 0)[labels].astype(float), per_fake[labels])


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
    return state.platt_slope * raw + state.platt_intercept


def log_ratio(batch: ScoringBatch, state: JudgeState) -> NDArray[np.float64]:
    """Return log p(x|y)/q(x|y), normalized so that ratios average 1 over the pilot's fakes of a class, clipped to +-8."""
    centered = calibrated_logit(batch, state) - state.log_mean_ratio[batch.labels]
    return np.clip(centered, -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)


class Critic:
    """Adds `p_real`, `log_density_ratio`, `real_percentile` and `accept_probability`; all null without a critic."""

    columns: ClassVar[tuple[str, ...]] = ("p_real", "log_density_ratio", "real_percentile", "accept_probability")

    def score(self, batch: ScoringBatch, state: JudgeState, reference: TrainReference) -> Columns:
        """Return the four columns."""
        del reference
        if not len(state.critic_weights):
            return {name: np.full(len(batch.labels), np.nan) for name in self.columns}
        logit = calibrated_logit(batch, state)
        normalized = log_ratio(batch, state)
        accept = acceptance_probability(np.exp(normalized), state.acceptance_constant[batch.labels])
        return {
            "p_real": 1 / (1 + np.exp(-np.clip(logit, -50, 50))),
            "log_density_ratio": normalized,
            "real_percentile": percentile(logit, state.holdout_logits),
            "accept_probability": accept if state.filters_by_probability else np.full(len(accept), np.nan),
        }


def percentile(logit: NDArray[np.float64], holdout: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (1 + #{h <= s}) / (n + 1), a conformal p-value: small means less real-looking than unseen reals."""
    return (1 + np.searchsorted(holdout, logit, side="right")) / (len(holdout) + 1)


def _logistic(
    features: NDArray[np.floating], is_real: NDArray[np.bool_], weights: NDArray[np.float64]
) -> LogisticRegression:
    model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=1000)
    return model.fit(features, is_real, sample_weight=weights)
