"""Accuracy over the share of the real samples as a + b n^-c, linear in a and b once c is fixed, and turned around."""

import numpy as np
from numpy.typing import NDArray

MAX_FACTOR = 4.0
"""The curve is not continued beyond this many times the real samples."""
FloatArray = NDArray[np.float64]


def _basis(shares: FloatArray | float, exponent: float) -> FloatArray:
    """Return the rising function of the share of data that accuracy is linear in, 0 at share 1."""
    x = np.asarray(shares, np.float64)
    return np.asarray(np.log(x) if exponent == 0 else (1 - x**-exponent) / exponent, np.float64)


def _line(accuracy: FloatArray, shares: FloatArray, exponent: float) -> FloatArray:
    """Return the least-squares slope of accuracy over the basis, `[draws]`."""
    x = _basis(shares, exponent)
    x = x - x.mean()
    return np.asarray((accuracy - accuracy.mean(1, keepdims=True)) @ x / (x @ x))


def slope_at_end(accuracy: FloatArray, shares: FloatArray) -> FloatArray:
    """Return the slope over log n of the upper half of the curve, `[draws]`."""
    return _line(accuracy[:, -3:], shares[-3:], 0.0)


def growth_factor(accuracy: FloatArray, gains: FloatArray, shares: FloatArray, exponent: float) -> FloatArray:
    """Return by what factor the real samples would have to grow for the gain, in `[1, MAX_FACTOR]`, `[draws]`."""
    slope = _line(accuracy, shares, exponent)
    reach = np.where(slope > 0, np.maximum(gains, 0) / np.where(slope > 0, slope, 1), np.where(gains > 0, np.inf, 0))
    if exponent == 0:
        factor = np.exp(np.minimum(reach, np.log(MAX_FACTOR)))
    else:
        factor = np.maximum(1 - exponent * reach, 1e-9) ** (-1 / exponent)
    return np.minimum(factor, MAX_FACTOR)
