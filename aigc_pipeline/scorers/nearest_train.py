"""How near the nearest training sample is: over harmless shifts of the sample itself, and in the judge encoder."""

from typing import ClassVar

import numpy as np

from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.scorers.base import Columns, JudgeState, ScoringBatch, TrainReference, percentile


class NearestTrain:
    """Adds distance, its quantile among hold-out reals, neighbour and thresholds. A declared parent is left out.

    Samples made from a parent are near each other on purpose: they are repeats only where nobody sees a difference.
    """

    columns: ClassVar[tuple[str, ...]] = (
        "train_distance",
        "train_distance_quantile",
        "nearest_train_id",
        "copy_threshold",
        "distinct_threshold",
        "judge_distance",
    )

    def score(self, batch: ScoringBatch, state: JudgeState, reference: TrainReference) -> Columns:
        """Return the six columns."""
        distance, row = batch.nearest_train()
        excluded = reference.excluded(batch.parents)
        judge_distance, _ = nearest(batch.judge_features, reference.judge_features, 1, exclude=excluded)
        return {
            "train_distance": distance,
            "train_distance_quantile": percentile(distance, state.holdout_distances),
            "nearest_train_id": [reference.ids[i] for i in row],
            "copy_threshold": np.full(len(distance), state.copy_threshold),
            "distinct_threshold": np.where(batch.parents >= 0, state.repeat_threshold, state.distinct_threshold),
            "judge_distance": judge_distance[:, 0],
        }
