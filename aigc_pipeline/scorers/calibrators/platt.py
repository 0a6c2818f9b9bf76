"""Platt scaling (Platt 1999): slope and intercept. A relativistic loss leaves the zero undefined, so both are needed.

Plain maximum likelihood: the targets are 0 and 1, not the smoothed ones of the paper.
"""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.core.strict import Member
from aigc_pipeline.scorers.calibrators.base import Floats
from aigc_pipeline.scorers.calibrators.logistic import fit_logistic


class Platt(Member):
    """Log odds are linear in the score. Right for a logistic critic, and safe with few samples."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["platt"] = "platt"

    def fit(self, scores: Floats, is_real: NDArray[np.bool_], weights: Floats) -> Floats:
        """Return slope and intercept."""
        return fit_logistic(np.column_stack([scores, np.ones(len(scores))]), is_real, weights, lower=[0.0, None])

    def logit(self, scores: Floats, parameters: Floats) -> Floats:
        """Return slope * score + intercept."""
        return np.asarray(parameters[0] * scores + parameters[1], np.float64)
