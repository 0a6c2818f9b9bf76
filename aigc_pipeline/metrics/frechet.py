"""Frechet distance between two sets of features, each taken as a Gaussian (Dowson & Landau 1982; Heusel et al. 2017, Eq. 6).

Biased upwards by about 0.5 d^2 / n: compare only sets of equal size, beside a real-vs-real value. It is called FID only
with Inception features, which this project does not ship.
"""

import numpy as np
from numpy.typing import NDArray


def frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return |mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^1/2) of two sets `[n, d]` and `[m, d]`, in float64."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    cov_x, cov_y = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    difference = x.mean(0) - y.mean(0)
    return float(difference @ difference + np.trace(cov_x) + np.trace(cov_y) - 2 * _trace_sqrt_product(cov_x, cov_y))


def diagonal_frechet_distance(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return the same with every covariance between two dimensions taken as 0: |mu_a - mu_b|^2 + |sd_a - sd_b|^2.

    For few samples: its bias grows with d / n, not with d^2 / n. It does not see how dimensions move together.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    means, spreads = x.mean(0) - y.mean(0), x.std(0, ddof=1) - y.std(0, ddof=1)
    return float(means @ means + spreads @ spreads)


def _trace_sqrt_product(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return tr((A B)^1/2) for positive semi-definite A and B by two symmetric eigenproblems: real by construction."""
    values, vectors = np.linalg.eigh(a)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    return float(np.sqrt(np.clip(np.linalg.eigvalsh(root.T @ b @ root), 0, None)).sum())
