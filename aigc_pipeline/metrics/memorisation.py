"""Does a set sit closer to the training data than unseen real data does? A screen for copying, not evidence of privacy."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm

from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.records import Estimate


@dataclass(frozen=True)
class Copying:
    """How a set's distances to the training data compare with those of unseen reals."""

    z: float
    """Z-score of the data-copying test; strongly negative means closer than unseen reals. Grows with n."""
    nearer_share: float
    """Probability that a synthetic sample is nearer than an unseen real one; 0.5 when alike, 1 when all are copies."""
    num_synthetic: int
    """Synthetic samples that were compared."""


def copying(synthetic: NDArray[np.floating], holdout: NDArray[np.floating]) -> Copying:
    """Return the data-copying test C_T (Meehan et al. 2020, section 3, one cell) and its effect size.

    Args:
        synthetic: distances of synthetic samples to their nearest training sample, `[n]`.
        holdout: the same for unseen real samples, `[m]`.

    A smooth generator sits somewhat nearer than noisy reals do, so significance alone is no alarm in a large set: read
    it together with the effect size. Sets that pass can still leak membership.
    """
    result = mannwhitneyu(synthetic, holdout, alternative="two-sided", method="asymptotic")
    magnitude = float(norm.isf(max(result.pvalue, 1e-300) / 2))
    nearer_share = 1 - float(result.statistic) / (len(synthetic) * len(holdout))
    return Copying(-magnitude if nearer_share > 0.5 else magnitude, nearer_share, len(synthetic))


def near_copy_share(synthetic: NDArray[np.floating], holdout: NDArray[np.floating], quantile: float = 0.01) -> float:
    """Return the share of synthetic samples nearer to the training data than all but `quantile` of unseen reals are.

    Args:
        synthetic: distances of synthetic samples to their nearest training sample, `[n]`.
        holdout: the same for unseen real samples, `[m]`; their own share is about `quantile`.
    """
    return float((synthetic < np.quantile(holdout, quantile)).mean())


def authenticity(sets: Mapping[str, NDArray[np.floating]], train: NDArray[np.floating]) -> dict[str, Estimate]:
    """Return `authenticity/<set>` for every set that has rows: the share of authentic samples, Wilson's 95 % interval.

    Give unseen reals as a set of their own: their share is what to expect without copying.

    Args:
        sets: features `[n, d]` by name, in the space of `train`.
        train: features of the training samples, `[N, d]`, N >= 2.
    """
    spacing, estimates = training_spacing(train), {}
    for name, samples in sets.items():
        if len(samples):
            distance, matched = nearest(np.asarray(samples, np.float32), np.asarray(train, np.float32), 1)
            estimates[f"authenticity/{name}"] = share(is_authentic(distance[:, 0], matched[:, 0], spacing))
    return estimates


def training_spacing(train: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return each training sample's distance to its nearest other one, `[N]`, for features `[N, d]`."""
    values = np.asarray(train, np.float32)
    return nearest(values, values, 1, exclude=np.arange(len(values), dtype=np.int64))[0][:, 0]


def is_authentic(
    distance: NDArray[np.floating], matched: NDArray[np.int64], spacing: NDArray[np.floating]
) -> NDArray[np.bool_]:
    """Tell of each sample whether it is further from the training sample next to it than that one's own neighbour is.

    The share of true values is the authenticity of Alaa et al. 2022: 0 for copies, about a half for unseen
    reals, whose value belongs beside it. A copy of a training sample that occurs twice ties at 0 and is not authentic.

    Args:
        distance: to the nearest training sample, `[n]`, as `nearest(samples, train, 1)` finds it.
        matched: the row of that training sample, `[n]`, in [0, N).
        spacing: `training_spacing` of all training samples, `[N]`. It is read at `matched`: reading it at the sample's
            own row is a known fault of other implementations.
    """
    return np.asarray(distance > spacing[matched], np.bool_)


def share(flags: NDArray[np.bool_]) -> Estimate:
    """Return a share with Wilson's 95 % interval."""
    low, high = wilson_interval(int(flags.sum()), len(flags))
    return Estimate(value=float(flags.mean()), ci_low=low, ci_high=high, n=len(flags))


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return float(max(center - half, 0.0)), float(min(center + half, 1.0))
