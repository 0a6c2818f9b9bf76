"""Is the critic fit to filter? Its numbers on data that neither it nor its calibrator saw, and what is wrong with them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.scorers.calibration import (
    area_under_curve,
    brier,
    effective_share,
    excess_calibration_error,
    expected_calibration_error,
    reliability_curve,
    z_statistic,
)
from aigc_pipeline.scorers.critic import LOG_RATIO_LIMIT, class_balanced_weights, fake_weights, p_of

NUMBERS = ("ece", "excess_ece", "brier", "auc", "z", "mean_ratio", "effective_share")


@dataclass(frozen=True)
class Limits:
    """What still counts as healthy; see `CalibrateConfig` for each."""

    min_auc: float
    max_auc: float
    max_z: float
    max_excess_ece: float
    max_log_mean_ratio: float
    min_effective_share: float


@dataclass(frozen=True)
class Health:
    """How the critic did on unseen data."""

    numbers: Mapping[str, float | None]
    reliability: tuple[tuple[float, float, int], ...]
    complaints: tuple[str, ...]
    """Reasons why it must not filter and nothing may rest on it, each with its remedy."""
    is_informative: bool

    @classmethod
    def without_critic(cls) -> "Health":
        """Return what is known without a critic: nothing."""
        return cls(dict.fromkeys(NUMBERS), (), (), is_informative=False)


def measure(
    logit: NDArray[np.float64], labels: NDArray[np.int64], is_real: NDArray[np.bool_], limits: Limits, *, seed: int
) -> Health:
    """Return the critic's numbers.

    Args:
        logit: calibrated log odds of unseen reals and fresh fakes, `[n]`.
        labels: class of each row.
    """
    p, weights, per_fake = p_of(logit), class_balanced_weights(labels, is_real), fake_weights(labels, is_real)
    ratio = np.exp(np.clip(logit[~is_real], -LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
    numbers = {
        "ece": expected_calibration_error(p, is_real, weights),
        "excess_ece": excess_calibration_error(p, is_real, per_fake, seed=seed),
        "brier": brier(p, is_real, weights),
        "auc": area_under_curve(logit, is_real, weights),
        "z": z_statistic(p, is_real, per_fake),
        "mean_ratio": float(np.average(ratio, weights=weights[~is_real])),
        "effective_share": effective_share(ratio),
    }
    return Health(
        numbers,
        reliability_curve(p, is_real, weights),
        complaints(numbers, limits),
        is_informative=numbers["auc"] >= limits.min_auc,
    )


def complaints(numbers: Mapping[str, float], limits: Limits) -> tuple[str, ...]:
    """Return what is wrong, each with its number and a remedy."""
    found = []
    if numbers["auc"] > limits.max_auc:
        found.append(
            f"the critic separates real from generated almost perfectly (AUC {numbers['auc']:.3f} > {limits.max_auc}): "
            "the generator is not ready. Train longer (train.total_samples) or give it more data"
        )
    if abs(numbers["z"]) > limits.max_z:
        found.append(
            f"p_real is not calibrated on unseen data (|Z| {abs(numbers['z']):.1f} > {limits.max_z}): "
            "the splits may differ in kind; check the source, or give more calibration samples"
        )
    if numbers["excess_ece"] > limits.max_excess_ece:
        found.append(
            f"p_real is off by {numbers['excess_ece']:.3f} more than chance explains (excess ECE, tolerated "
            f"{limits.max_excess_ece}): try another calibrate.calibrator (beta, isotonic), or give more calibration samples"
        )
    if abs(np.log(numbers["mean_ratio"])) > limits.max_log_mean_ratio:
        found.append(
            f"the mean density ratio of generated samples is {numbers['mean_ratio']:.2f} instead of about 1: "
            "the generator misses part of the data or the critic overfits. Train longer"
        )
    if numbers["effective_share"] < limits.min_effective_share:
        found.append(
            f"the ratio rests on {numbers['effective_share']:.1%} of the generated samples (under "
            f"{limits.min_effective_share:.0%}): rejection would keep a handful of modes. Train longer"
        )
    return tuple(found)
