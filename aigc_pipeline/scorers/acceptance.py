"""Optimal budgeted rejection sampling (Verine et al. 2023): the acceptance that is best for every f-divergence at a budget.

Accept with probability a(x) = min(1, c r(x)), r the density ratio p/q, c such that the mean over the generator's own
samples is the budget K. c is solved per class on a pilot pool, once, and frozen.
"""

import numpy as np
from numpy.typing import NDArray


def solve_acceptance(ratio: NDArray[np.floating], keep_share: float) -> float:
    """Return c with mean(min(1, c ratio)) == keep_share, exactly up to rounding, in O(n log n).

    Returns infinity where even accepting every positive ratio stays under the budget.
    """
    values = np.sort(np.asarray(ratio, np.float64))[::-1]
    n = len(values)
    if keep_share * n >= np.count_nonzero(values > 0):
        return float("inf")
    tail = np.cumsum(values[::-1])[::-1]  # summed from the small end: no cancellation
    saturated = np.arange(n)
    c = (n * keep_share - saturated) / np.maximum(tail, 1e-300)
    is_consistent = (c > 0) & (c * values <= 1 + 1e-12)
    is_consistent[1:] &= c[1:] * values[:-1] >= 1 - 1e-12
    return float(c[np.argmax(is_consistent)])


def acceptance_probability(ratio: NDArray[np.floating], constant: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return min(1, c r); an infinite c accepts every positive ratio."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(constant), (ratio > 0).astype(float), np.minimum(1.0, constant * ratio))
