"""Does a set sit closer to the training data than unseen real data does? A screen for copying, not evidence of privacy."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm


@dataclass(frozen=True)
class Copying:
    """How a set's distances to the training data compare with those of unseen reals."""

    z: float
    """Z-score of the data-copying test; strongly negative means closer than unseen reals. Grows with n."""
    nearer_share: float
    """Probability that a synthetic sample is nearer than an unseen real one; 0.5 when alike, 1 when all are copies."""


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
    return Copying(z=-magnitude if nearer_share > 0.5 else magnitude, nearer_share=nearer_share)


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return float(max(center - half, 0.0)), float(min(center + half, 1.0))
