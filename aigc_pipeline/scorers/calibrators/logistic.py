"""The fit that Platt, beta and temperature calibration share: logistic regression on one or two fixed inputs."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Floats = NDArray[np.float64]


def fit_logistic(inputs: Floats, is_real: NDArray[np.bool_], weights: Floats, *, lower: list[float | None]) -> Floats:
    """Return the coefficients `[d]` that minimize the weighted log loss of sigmoid(inputs @ coefficients).

    Args:
        inputs: `[n, d]`.
        lower: smallest allowed value per coefficient; None for no limit. A slope must not be negative.
    """
    target = is_real.astype(np.float64)
    size = np.abs(inputs).std(0) + np.abs(inputs).mean(0)
    scale = np.where(size > 0, size, 1)
    z, mass = inputs / scale, weights / weights.sum()

    def loss(coefficients: Floats) -> tuple[float, Floats]:
        logit = z @ coefficients
        value = np.sum(mass * (np.logaddexp(0, logit) - target * logit))
        return float(value), (mass * (expit(logit) - target)) @ z

    start = np.array([0.0 if low is None else 1.0 for low in lower])
    result = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(low, None) for low in lower])
    return np.asarray(result.x / scale, np.float64)
