"""Temperature scaling (Guo et al. 2017, section 4.2): a slope alone; zero stays zero."""

from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.core.strict import Member
from aigc_pipeline.scorers.calibrators.base import Floats
from aigc_pipeline.scorers.calibrators.logistic import fit_logistic


class Temperature(Member):
    """For scores whose zero already means even odds, as those of a critic fitted at prior 1/2."""

    handles: ClassVar[frozenset[str] | None] = None
    kind: Literal["temperature"] = "temperature"

    def fit(self, scores: Floats, is_real: NDArray[np.bool_], weights: Floats) -> Floats:
        """Return the slope, 1 / temperature."""
        return fit_logistic(scores[:, None], is_real, weights, lower=[0.0])

    def logit(self, scores: Floats, parameters: Floats) -> Floats:
        """Return slope * score."""
        return np.asarray(parameters[0] * scores, np.float64)
