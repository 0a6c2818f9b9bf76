"""What a calibrator is: a critic's raw scores to log odds that mean what they say."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Calibrator(Protocol):
    """A member of `AnyCalibrator`: frozen settings with two pure verbs. What is fitted is a plain array."""

    @property
    def kind(self) -> str:
        """The word that picks this member in a config."""
        ...

    def fit(self, scores: Floats, is_real: NDArray[np.bool_], weights: Floats) -> Floats:
        """Return parameters `[p]`, fitted on out-of-fold scores `[n]` under sample weights that make the prior 1/2."""
        ...

    def logit(self, scores: Floats, parameters: Floats) -> Floats:
        """Return calibrated log odds of being real, `[n]`, finite and never decreasing in the score."""
        ...
