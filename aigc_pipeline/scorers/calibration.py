"""How well probabilities mean what they say. All statistics take sample weights; a prior of 1/2 is a matter of weights."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_BINS = 10
_SIMULATED_LABEL_SETS = 200


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """Return the softmax temperature that minimizes the log loss (Guo et al. 2017), within 0.05 .. 20."""
    temperatures = np.geomspace(0.05, 20, 200)
    rows = np.arange(len(labels))
    losses = []
    for temperature in temperatures:
        scaled = logits / temperature
        losses.append(float(np.mean(np.logaddexp.reduce(scaled, axis=1) - scaled[rows, labels])))
    return float(temperatures[int(np.argmin(losses))])


def brier(p: Floats, is_real: NDArray[np.bool_], weights: Floats) -> float:
    """Return the weighted mean squared error of probabilities."""
    return float(np.average((p - is_real) ** 2, weights=weights))


def expected_calibration_error(p: Floats, is_real: NDArray[np.bool_], weights: Floats) -> float:
    """Return ECE over 10 equal-width bins: weighted mean |observed share - mean probability|."""
    bins = np.minimum((p * _BINS).astype(int), _BINS - 1)
    error = 0.0
    for index in np.unique(bins):
        rows = bins == index
        mass = weights[rows].sum()
        gap = np.average(is_real[rows], weights=weights[rows]) - np.average(p[rows], weights=weights[rows])
        error += mass * abs(gap)
    return float(error / weights.sum())


def excess_calibration_error(p: Floats, is_real: NDArray[np.bool_], fake_weights: Floats, *, seed: int) -> float:
    """Return ECE minus what it would be on average if every p were true, at this n and these weights.

    A perfect calibrator shows an ECE well above 0 on few samples; 200 draws of labels from p itself measure how much.

    Args:
        fake_weights: weight of a fake of the row's class, for every row; a real one weighs 1.
    """
    generator = np.random.default_rng(seed)
    chance = fake_weights * p / (fake_weights * p + 1 - p)  # prior 1/2 to the prior of this sample
    drawn = []
    for _ in range(_SIMULATED_LABEL_SETS):
        is_drawn = generator.random(len(p)) < chance
        drawn.append(expected_calibration_error(p, is_drawn, np.where(is_drawn, 1.0, fake_weights)))
    weights = np.where(is_real, 1.0, fake_weights)
    return expected_calibration_error(p, is_real, weights) - float(np.mean(drawn))


def reliability_curve(p: Floats, is_real: NDArray[np.bool_], weights: Floats) -> tuple[tuple[float, float, int], ...]:
    """Return (mean probability, observed share of reals, samples) of every bin that has samples."""
    bins = np.minimum((p * _BINS).astype(int), _BINS - 1)
    return tuple(
        (
            float(np.average(p[bins == b], weights=weights[bins == b])),
            float(np.average(is_real[bins == b], weights=weights[bins == b])),
            int((bins == b).sum()),
        )
        for b in np.unique(bins)
    )


def z_statistic(p: Floats, is_real: NDArray[np.bool_], fake_weights: Floats) -> float:
    """Return Turner's Z (Turner et al. 2019): weighted sum of (y - p) over its standard deviation; within +-2 if calibrated.

    Args:
        fake_weights: weight of a fake of the row's class, for every row; a real one weighs 1. The variance of a row's
            term, taken over its own label at the sample's prior, is then fake_weight * p * (1 - p).
    """
    weights = np.where(is_real, 1.0, fake_weights)
    variance = np.sum(fake_weights * p * (1 - p))
    return float(np.sum(weights * (is_real - p)) / np.sqrt(max(variance, 1e-300)))


def area_under_curve(scores: Floats, is_real: NDArray[np.bool_], weights: Floats) -> float:
    """Return the weighted AUC: the probability that a real sample scores above a fake one, ties counted half."""
    order = np.argsort(scores, kind="stable")
    s, y, w = scores[order], is_real[order], weights[order]
    _, group = np.unique(s, return_inverse=True)
    fake = np.bincount(group, w * ~y)
    real = np.bincount(group, w * y)
    below = np.concatenate([[0.0], np.cumsum(fake)[:-1]])
    total = fake.sum() * real.sum()
    return float(np.sum(real * (below + fake / 2)) / total) if total else 0.5


def effective_share(ratio: Floats) -> float:
    """Return the effective sample size (sum r)^2 / sum r^2 as a share of n, ratios cut at sqrt(n) times their mean.

    The cut is that of truncated importance sampling (Ionides 2008): without it a single extreme ratio, where the
    calibrator extrapolates, decides the number. A set whose mass truly lies on a handful of samples still shows.
    """
    cut = np.minimum(ratio, np.sqrt(len(ratio)) * ratio.mean())
    return float(cut.sum() ** 2 / max(np.square(cut).sum(), 1e-300) / len(cut))
