"""How unlike every real sample a candidate is: its distance to the k-th nearest training sample in the encoder.

Compared with the distances of hold-out reals it gives a conformal p-value (Bates et al. 2023, Eq. 2): under 0.01 means
less like the training data than 99 % of unseen reals. About 1 % of good samples fall there by design.
"""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.scorers.base import SMALL_CLASS, Columns, FloatArray, JudgeState, ScoringBatch, TrainReference

NEIGHBOURS = 5


class InDistribution:
    """Adds `ood_p`. A declared parent is left out.

    Null where there is no hold-out, and for varied real samples, which are as typical as their parents; and in small classes,
    where even real samples lie far from the 5th nearest: of unseen MNIST digits a limit meant for 2 % refused 46 % in classes
    of 3 training samples, 10 % of 16 and 3 % of 29 (docs/LOG.md).
    """

    columns: ClassVar[tuple[str, ...]] = ("ood_p",)

    def score(self, batch: ScoringBatch, state: JudgeState, reference: TrainReference) -> Columns:
        """Return the column."""
        if not len(state.holdout_outlyingness):
            return {"ood_p": np.full(len(batch.labels), np.nan)}
        exclude = batch.parents if (batch.parents >= 0).any() else None
        distance = outlyingness(batch.features, reference.features, exclude=exclude)
        p = conformal_p(distance, state.holdout_outlyingness)
        return {"ood_p": np.where(batch.is_classic | (state.class_have[batch.labels] < SMALL_CLASS), np.nan, p)}


def outlyingness(
    features: FloatArray, train: FloatArray, *, exclude: NDArray[np.int64] | None = None
) -> NDArray[np.float32]:
    """Return the distance to the 5th nearest training row (the farthest there is, where there are fewer), `[n]`."""
    num_left = len(train) - (exclude is not None)
    return nearest(features, train, max(1, min(NEIGHBOURS, num_left)), exclude=exclude)[0][:, -1]


def conformal_p(values: NDArray[np.floating], holdout: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (1 + #{h >= v}) / (n + 1) against sorted hold-out values: small means larger than unseen reals'."""
    return (1 + len(holdout) - np.searchsorted(holdout, values, side="left")) / (len(holdout) + 1)
