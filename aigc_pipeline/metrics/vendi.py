"""The Vendi score: how many different samples a set is worth (Friedman & Dieng 2023). It knows no real data.

Diversity alone: noise scores high, so read it beside precision and beside the value of real samples at the same n.
"""

import numpy as np
from numpy.typing import NDArray


def vendi_score(features: NDArray[np.floating]) -> float:
    """Return exp of the entropy of the eigenvalues of K / n (Eq. 2-3), in [1, n]; K holds cosine similarities.

    1 when all samples are alike, n when all are orthogonal. At most d + 1, so compare at equal n and in one feature
    space. Where n > d, the d x d matrix X^T X / n of unit rows has the same eigenvalues and is decomposed instead.

    Args:
        features: `[n, d]`, n >= 1. On standardized features, cosines are taken about the mean training sample. Rows
            of zeros count as like each other and orthogonal to the rest.

    Raises:
        ValueError: if there is no row.
    """
    if not len(features):
        msg = "the Vendi score needs at least one sample"
        raise ValueError(msg)
    rows = np.asarray(features, np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    unit = np.hstack([rows / np.where(norms > 0, norms, 1), norms == 0])
    matrix = unit.T @ unit if len(unit) > unit.shape[1] else unit @ unit.T
    shares = np.clip(np.linalg.eigvalsh(matrix / len(unit)), 0, None)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
