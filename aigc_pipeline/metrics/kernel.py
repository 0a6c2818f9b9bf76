"""Maximum mean discrepancies (Gretton et al. 2012, Eq. 3, unbiased) between two sets of features, streamed in blocks.

KID takes a cubic kernel, MMD-RBF a Gaussian one. Being unbiased, all scatter around 0 for two sets from one
distribution and may be negative; far below 0 they mean copies. Neither knows a scale: features must be standardized.
Not for hypothesis tests; no null distribution is given here.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Kernel = Callable[[FloatArray, FloatArray], FloatArray]
_BLOCK_ENTRIES = 1 << 21  # 16 MB of float64 per kernel block
_MAX_MEDIAN_ROWS = 2_000


def unbiased_mmd(
    kernels: Mapping[str, Kernel], real: NDArray[np.floating], fake: NDArray[np.floating]
) -> dict[str, float]:
    """Return the unbiased estimate of MMD^2 between `[n, d]` and `[m, d]` for every kernel, in float64.

    Raises:
        ValueError: if a set has fewer than two rows.
    """
    x, y = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if min(len(x), len(y)) < 2:
        msg = f"an unbiased discrepancy needs two rows per set, not {len(x)} real and {len(y)} synthetic ones"
        raise ValueError(msg)
    return {
        name: _mean_off_diagonal(x, kernel) + _mean_off_diagonal(y, kernel) - 2 * _sum(x, y, kernel) / (len(x) * len(y))
        for name, kernel in kernels.items()
    }


def cubic(num_features: int) -> Kernel:
    """Return the kernel (x.y / d + 1)^3 of KID (Binkowski et al. 2018).

    Its MMD^2 is the Kernel Inception Distance in Inception's features only; here over the whole sets, not over subsets.
    """

    def kernel(x: FloatArray, y: FloatArray) -> FloatArray:
        base = x @ y.T
        base /= num_features
        base += 1
        return base * base * base

    return kernel


def gaussian(variance: float) -> Kernel:
    """Return the kernel exp(-|x - y|^2 / (2 sigma^2)) for sigma^2 = `variance` > 0; its MMD^2 is within [-2, 2].

    With the median squared distance among the reals as sigma^2, it does not depend on what is compared with them. It is
    the CMMD of Jayasumana et al. 2024 only with CLIP features and sigma 10.
    """

    def kernel(x: FloatArray, y: FloatArray) -> FloatArray:
        exponent = _squared_distances(x, y)
        exponent /= -2 * variance
        return np.asarray(np.exp(exponent, out=exponent))

    return kernel


def median_squared_distance(points: NDArray[np.floating]) -> float:
    """Return the median squared distance between two different rows of `[n, d]`, n >= 2.

    Of 2,000 evenly spaced rows at most, where there are more. 0 where most rows are equal.
    """
    step = -(-len(points) // _MAX_MEDIAN_ROWS)
    some = np.asarray(points[::step], np.float64)
    return float(np.median(_squared_distances(some, some)[np.triu_indices(len(some), 1)]))


def _mean_off_diagonal(x: FloatArray, kernel: Kernel) -> float:
    """Return the mean kernel value of two different rows; each pair is computed once."""
    step, total = _block_rows(len(x)), 0.0
    for start in range(0, len(x), step):
        block = x[start : start + step]
        within = kernel(block, block)
        total += float(within.sum() - np.trace(within)) + 2 * _sum(block, x[start + step :], kernel)
    return total / (len(x) * (len(x) - 1))


def _sum(x: FloatArray, y: FloatArray, kernel: Kernel) -> float:
    step = _block_rows(len(y))
    return sum(float(kernel(x[start : start + step], y).sum()) for start in range(0, len(x), step))


def _block_rows(num_columns: int) -> int:
    return max(1, _BLOCK_ENTRIES // max(1, num_columns))


def _squared_distances(x: FloatArray, y: FloatArray) -> FloatArray:
    squared = x @ y.T
    squared *= -2
    squared += np.square(x).sum(1)[:, None]
    squared += np.square(y).sum(1)
    return np.asarray(np.maximum(squared, 0, out=squared))
