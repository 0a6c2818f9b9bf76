"""Calibrators. The union is the registry; per class, a calibrator of the class is shrunk towards the global one."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from aigc_pipeline.scorers.calibrators.base import Calibrator, Floats
from aigc_pipeline.scorers.calibrators.beta import Beta
from aigc_pipeline.scorers.calibrators.isotonic import Isotonic
from aigc_pipeline.scorers.calibrators.platt import Platt
from aigc_pipeline.scorers.calibrators.temperature import Temperature

AnyCalibrator = Annotated[Platt | Beta | Isotonic | Temperature, Field(discriminator="kind")]
CALIBRATORS: dict[str, Calibrator] = {each.kind: each for each in (Platt(), Beta(), Isotonic(), Temperature())}
_MIN_REALS = 10


def fit_per_class(
    calibrator: Calibrator,
    scores: Floats,
    is_real: NDArray[np.bool_],
    weights: Floats,
    labels: NDArray[np.int64],
    *,
    num_classes: int,
    shrinkage: float | None,
) -> tuple[Floats, Floats, Floats]:
    """Return global parameters `[p]`, parameters per class `[classes, q]` (padded with NaN) and their share `[classes]`.

    Args:
        shrinkage: reals of a class at which its own calibrator counts half: share = n / (n + shrinkage). None: global
            alone. A class with fewer than 10 reals, or fakes, has share 0.
    """
    overall = calibrator.fit(scores, is_real, weights)
    shares, fitted = np.zeros(num_classes), [overall] * num_classes
    for label in range(num_classes) if shrinkage is not None else ():
        mine = labels == label
        num_reals, num_fakes = int((mine & is_real).sum()), int((mine & ~is_real).sum())
        if num_reals >= _MIN_REALS and num_fakes >= _MIN_REALS:
            fitted[label] = calibrator.fit(scores[mine], is_real[mine], weights[mine])
            shares[label] = num_reals / (num_reals + (shrinkage or 0.0))
    return overall, _padded(fitted), shares


def calibrated(
    calibrator: Calibrator,
    scores: Floats,
    labels: NDArray[np.int64],
    overall: Floats,
    per_class: Floats,
    shares: Floats,
) -> Floats:
    """Return log odds `[n]`: share * the class's own + (1 - share) * the global one."""
    logit = calibrator.logit(scores, overall)
    for label in np.flatnonzero(shares):
        mine = labels == label
        own = per_class[label][~np.isnan(per_class[label])]
        logit[mine] += shares[label] * (calibrator.logit(scores[mine], own) - logit[mine])
    return logit


def _padded(rows: Sequence[Floats]) -> Floats:
    table = np.full((len(rows), max(len(row) for row in rows)), np.nan)
    for index, row in enumerate(rows):
        table[index, : len(row)] = row
    return table


__all__ = ["CALIBRATORS", "AnyCalibrator", "Calibrator", "Platt", "calibrated", "fit_per_class"]
