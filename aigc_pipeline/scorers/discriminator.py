"""The family's own discriminator: raw logit, provenance only. Its zero means nothing and classes are not comparable."""

from typing import ClassVar

import numpy as np

from aigc_pipeline.scorers.base import Columns, JudgeState, ScoringBatch, TrainReference


class Discriminator:
    """Adds `d_logit`; null for a family without a discriminator."""

    columns: ClassVar[tuple[str, ...]] = ("d_logit",)

    def score(self, batch: ScoringBatch, state: JudgeState, reference: TrainReference) -> Columns:
        """Return the logits."""
        del state, reference
        missing = np.full(len(batch.labels), np.nan)
        return {"d_logit": missing if batch.d_logit is None else batch.d_logit}
