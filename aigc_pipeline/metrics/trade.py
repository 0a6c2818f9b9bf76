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


def choose_budget(
    real: FloatArray,
    pilot: FloatArray,
    keep: Callable[[float], NDArray[np.bool_]],
    *,
    configured: float,
    relaxes: bool,
    seed: int,
) -> Trade:
    """Measure the trade; raise the configured budget where it only trims diversity.

    Args:
        real: features of hold-out reals, `[m, d]`.
        pilot: features of pilot fakes that passed the gates before, `[n, d]`.
        keep: budget to the pilot rows that it keeps, `[n]`.
    """
    kept = {share: keep(share) for share in sorted({*SHARES, configured}, reverse=True)}
    number = min(_MAX_ROWS, *(int(mask.sum()) for mask in kept.values()))
    if min(number, len(real)) <= 2 * _NEIGHBOURS:
        return Trade((), configured, None)

    def measured(share: float) -> TradePoint:
        mask = kept[share] if share in kept else keep(share)
        return _point(share, real, pilot[mask], number, seed)

    points = {share: measured(share) for share in kept}
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


def _point(share: float, real: FloatArray, kept: FloatArray, number: int, seed: int) -> TradePoint:
    """Return the mean over draws of `number` kept samples against up to 1,000 reals."""
    generator = numpy_generator(seed, "trade")
    draws = []
    for _ in range(_NUM_DRAWS):
        reals = real[generator.permutation(len(real))[:_MAX_ROWS]]
        draws.append(prdc(reals, kept[generator.permutation(len(kept))[:number]], _NEIGHBOURS))
    names = ("precision", "recall", "density", "coverage")
    return TradePoint(keep_share=share, **{name: float(np.mean([getattr(d, name) for d in draws])) for name in names})
