"""What the referee, a classifier trained on real data alone, says about the requested class."""

from typing import ClassVar

import numpy as np
from scipy.special import softmax

from aigc_pipeline.scorers.base import Columns, JudgeState, ScoringBatch, TrainReference


class Referee:
    """Adds `label_predicted` and `label_probability` (temperature-scaled); null without a referee."""

    columns: ClassVar[tuple[str, ...]] = ("label_predicted", "label_probability")

    def score(self, batch: ScoringBatch, state: JudgeState, reference: TrainReference) -> Columns:
        """Return the two columns."""
        del reference
        if batch.referee_logits is None:
            missing = np.full(len(batch.labels), np.nan)
            return {"label_predicted": missing, "label_probability": missing}
        probability = softmax(batch.referee_logits / state.temperature, axis=1)
        rows = np.arange(len(batch.labels))
        return {
            "label_predicted": batch.referee_logits.argmax(1).astype(np.float64),
            "label_probability": probability[rows, batch.labels],
        }
