"""Isotonic calibration: the best increasing step function (Zadrozny & Elkan 2002), joined at the steps' centers.

Plain steps give many samples the same probability, and a ranking by it is then arbitrary. Joining the centers (centered
isotonic regression, Oron & Flournoy 2017) keeps the order of the scores.
"""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from aigc_pipeline.core.strict import Member
from aigc_pipeline.scorers.calibrators.base import Floats

_END_SLOPE = 1e-3  # beyond the outer centers: almost flat, yet in the order of the scores


class Isotonic(Member):
    """Any increasing curve. Needs about 1,000 samples; with fewer it follows noise."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["isotonic"] = "isotonic"

    def fit(self, scores: Floats, is_real: NDArray[np.bool_], weights: Floats) -> Floats:
        """Return the centers' scores followed by their log odds, `[2 c]`."""
        step = IsotonicRegression().fit(scores, is_real.astype(float), sample_weight=weights).predict(scores)
        level, member = np.unique(step, return_inverse=True)
        mass = np.bincount(member, weights)
        center = np.bincount(member, weights * scores) / np.maximum(mass, 1e-300)
        known = mass > 0
        least = 1 / (len(scores) + 2)
        p = np.clip(level[known], least, 1 - least)
        return np.concatenate([center[known], np.log(p / (1 - p))])

    def logit(self, scores: Floats, parameters: Floats) -> Floats:
        """Return log odds, linear between the centers."""
        center, value = np.split(parameters, 2)
        beyond = np.minimum(scores - center[0], 0) + np.maximum(scores - center[-1], 0)
        return np.asarray(np.interp(scores, center, value) + _END_SLOPE * beyond, np.float64)
