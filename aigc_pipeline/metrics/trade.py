"""What a rejection budget buys and costs: precision against recall and coverage, at equal numbers of samples.

A budget that only trims diversity is raised: recall or coverage may fall by 15 % at most, and where precision does not
rise, recall must not fall. The pilot's features come from the filter's own encoder; published numbers do not.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.metrics.prdc import prdc
from aigc_pipeline.records import TradePoint

SHARES = (1.0, 0.75, 0.5, 0.35, 0.2)
FloatArray = NDArray[np.float32]
_MIN_LEFT = 0.85
_NOISE = 0.01
_RELAXATION = 1.5
_MAX_RELAXATIONS = 2
_MAX_ROWS = 1_000
_NUM_DRAWS = 3
_NEIGHBOURS = 5


@dataclass(frozen=True)
class Trade:
    """The measured trade and the budget that follows from it."""

    points: tuple[TradePoint, ...]
    keep_share: float
    relaxed_from: float | None


@dataclass(frozen=True)
class Pilot:
    """Fakes that passed the gates before rejection sampling."""

    features: FloatArray
    coins: NDArray[np.float64]
    """Each row's own uniform number, `[n]`."""
    labels: NDArray[np.int64]
    """Class of each row; -1 for classes with a budget of their own."""


def choose_budget(
    real: FloatArray,
    pilot: Pilot,
    accept: Callable[[float], NDArray[np.float64]],
    *,
    configured: float,
    relaxes: bool,
    seed: int,
) -> Trade:
    """Measure the trade; raise the configured budget where it only trims diversity.

    A starved class is recorded, and never a reason to raise the budget: a class falls behind where `min_p_real` leaves
    it too little to choose from, and a larger budget for the others would widen the gap.

    Args:
        real: features of hold-out reals, `[m, d]`.
        accept: budget to the acceptance probability of every pilot row, `[n]`.
    """
    probability = {share: accept(share) for share in sorted({*SHARES, configured}, reverse=True)}
    number = min(_MAX_ROWS, *(int((pilot.coins < p).sum()) for p in probability.values()))
    if min(number, len(real)) <= 2 * _NEIGHBOURS:
        return Trade((), configured, None)

    def measured(share: float) -> TradePoint:
        p = probability[share] if share in probability else accept(share)
        least = min_class_share(p, pilot.labels)
        return _point(share, real, pilot.features[pilot.coins < p], number, seed, least)

    points = {share: measured(share) for share in probability}
    share = configured
    for _ in range(_MAX_RELAXATIONS if relaxes else 0):
        if share >= 1 or not trims_diversity(points[1.0], points[share]):
            break
        share = min(1.0, _RELAXATION * share)
        points.setdefault(share, measured(share))
    ordered = tuple(points[each] for each in sorted(points, reverse=True))
    return Trade(ordered, share, configured if share != configured else None)


def trims_diversity(before: TradePoint, after: TradePoint) -> bool:
    """Say whether a budget costs too much recall or coverage, or costs recall without buying precision."""
    starved = after.recall < _MIN_LEFT * before.recall or after.coverage < _MIN_LEFT * before.coverage
    in_vain = after.precision <= before.precision + _NOISE and after.recall < before.recall - 2 * _NOISE
    return starved or in_vain


def min_class_share(probability: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return the lowest class mean of acceptance over the mean of all, in [0, 1]; rows of class -1 do not count."""
    means = [float(probability[labels == label].mean()) for label in np.unique(labels[labels >= 0])]
    overall = float(np.mean(means)) if means else 0.0
    return min(means) / overall if overall else 1.0


def _point(share: float, real: FloatArray, kept: FloatArray, number: int, seed: int, least: float) -> TradePoint:
    """Return the mean over draws of `number` kept samples against up to 1,000 reals."""
    generator = numpy_generator(seed, "trade")
    draws = []
    for _ in range(_NUM_DRAWS):
        reals = real[generator.permutation(len(real))[:_MAX_ROWS]]
        draws.append(prdc(reals, kept[generator.permutation(len(kept))[:number]], _NEIGHBOURS))
    names = ("precision", "recall", "density", "coverage")
    means = {name: float(np.mean([getattr(d, name) for d in draws])) for name in names}
    return TradePoint(keep_share=share, min_class_share=least, **means)
