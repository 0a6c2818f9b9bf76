"""Two ways to accept by the density ratio r = p/q at a budget K, each with one constant per class, frozen on a pilot.

Optimal budgeted rejection (Verine et al. 2023): accept with probability min(1, c r), best for every f-divergence.
Discriminator rejection (Azadi et al. 2018, Eq. 8): accept with probability sigmoid(F(r) - gamma).
Either constant is such that the mean over the generator's own samples is K.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

Rule = Literal["optimal", "discriminator"]
Floats = NDArray[np.float64]
_EPSILON = 1e-8
_WIDEST = 200.0


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


def acceptance_probability(ratio: NDArray[np.floating], constant: NDArray[np.floating]) -> Floats:
    """Return min(1, c r); an infinite c accepts every positive ratio."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(constant), (ratio > 0).astype(float), np.minimum(1.0, constant * ratio))


def solve_discriminator(log_ratio: Floats, keep_share: float, peak: float, *, allowed: NDArray[np.bool_]) -> float:
    """Return gamma with mean(allowed * sigmoid(F - gamma)) == keep_share.

    Minus infinity, which accepts every allowed row, where even that stays within the budget.

    Args:
        allowed: `[n]`: rows that may be accepted at all.
    """
    if keep_share >= allowed.mean():
        return float("-inf")
    lifted = _lifted(log_ratio, np.full(len(log_ratio), peak))

    def excess(gamma: float) -> float:
        return float((allowed * expit(lifted - gamma)).mean() - keep_share)

    return float(brentq(excess, -_WIDEST, _WIDEST, xtol=1e-12))


def discriminator_probability(log_ratio: Floats, gamma: Floats, peak: Floats) -> Floats:
    """Return sigmoid(F - gamma); `peak` is the largest log ratio seen on the pilot, `[n]` as all arguments."""
    return np.asarray(expit(_lifted(log_ratio, peak) - gamma), np.float64)


def _lifted(log_ratio: Floats, peak: Floats) -> Floats:
    """Return F = d - d_max - log(1 - exp(d - d_max - epsilon)), d clipped at d_max."""
    below = np.minimum(log_ratio - peak, 0.0)
    return np.asarray(below - np.log(-np.expm1(below - _EPSILON)), np.float64)
