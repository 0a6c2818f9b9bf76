"""Does a set sit closer to the training data than unseen real data does? A screen for copying, not evidence of privacy."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu, norm


def copying_z(synthetic: NDArray[np.floating], holdout: NDArray[np.floating]) -> float:
    """Return the Z-score of the data-copying test C_T (Meehan et al. 2020, section 3, one cell).

    Args:
        synthetic: distances of synthetic samples to their nearest training sample, `[n]`.
        holdout: the same for unseen real samples, `[m]`.

    Strongly negative means copying, strongly positive under-fitting. Sets that pass can still leak membership.
    """
    result = mannwhitneyu(synthetic, holdout, alternative="two-sided", method="asymptotic")
    magnitude = float(norm.isf(max(result.pvalue, 1e-300) / 2))
    return magnitude if result.statistic >= len(synthetic) * len(holdout) / 2 else -magnitude


def wilson_interval(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    share = successes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return float(max(center - half, 0.0)), float(min(center + half, 1.0))
