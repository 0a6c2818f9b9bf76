"""Beta calibration (Kull et al. 2017, Eq. 3): like Platt, but each end of the scale has a slope of its own."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.core.strict import Member
from aigc_pipeline.scorers.calibrators.base import Floats
from aigc_pipeline.scorers.calibrators.logistic import fit_logistic


class Beta(Member):
    """log odds = a ln p - b ln(1 - p) + c with p the sigmoid of the raw score and a, b >= 0."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["beta"] = "beta"

    def fit(self, scores: Floats, is_real: NDArray[np.bool_], weights: Floats) -> Floats:
        """Return a, b and c."""
        return fit_logistic(_inputs(scores), is_real, weights, lower=[0.0, 0.0, None])

    def logit(self, scores: Floats, parameters: Floats) -> Floats:
        """Return the log odds."""
        return np.asarray(_inputs(scores) @ parameters, np.float64)


def _inputs(scores: Floats) -> Floats:
    """Return ln p, -ln(1 - p) and 1, without ever forming p."""
    return np.column_stack([-np.logaddexp(0, -scores), np.logaddexp(0, scores), np.ones(len(scores))])
