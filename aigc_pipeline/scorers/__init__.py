"""Scorers, and the scoring of candidates with all of them. A new scorer is one file and one name in `SCORERS`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.core.seeding import coin
from aigc_pipeline.features import FittedEncoder
from aigc_pipeline.features.neighbours import nearest_earlier, nearest_over_views
from aigc_pipeline.features.views import first_view, view_blocks
from aigc_pipeline.scorers.base import FloatArray, JudgeState, Scorer, ScoringBatch, TrainReference
from aigc_pipeline.scorers.critic import Critic
from aigc_pipeline.scorers.discriminator import Discriminator
from aigc_pipeline.scorers.in_distribution import InDistribution
from aigc_pipeline.scorers.label_agreement import Referee
from aigc_pipeline.scorers.nearest_train import NearestTrain

SCORERS: tuple[Scorer, ...] = (Discriminator(), Critic(), Referee(), InDistribution(), NearestTrain())


@dataclass(frozen=True)
class Bench:
    """Everything that scoring needs besides the fitted state."""

    encoder: FittedEncoder
    judge_encoder: FittedEncoder
    d_logit: Callable[[pa.Array, NDArray[np.int64]], FloatArray | None]
    """Stored cells and labels to the discriminator's logits; None for a family without one."""
    reference: TrainReference

    def prepare(
        self,
        cells: pa.Array,
        *,
        labels: NDArray[np.int64],
        parents: NDArray[np.int64],
        is_classic: NDArray[np.bool_],
        ids: Sequence[str],
        run_seed: int,
    ) -> ScoringBatch:
        """Compute what all scorers share."""
        features, logits = (
            self.encoder.encode_with_logits(cells) if self.encoder.has_head else (self.encoder.encode(cells), None)
        )
        return ScoringBatch(
            labels=labels,
            nearest_train=cache(
                lambda: nearest_over_views(
                    view_blocks(cells, self.encoder.spec),
                    self.reference.prepared_view,
                    exclude=self.reference.excluded(parents),
                )
            ),
            features=features,
            judge_features=self.judge_encoder.encode(cells),
            referee_logits=logits,
            d_logit=self.d_logit(cells, labels),
            parents=parents,
            is_classic=is_classic,
            coins=np.array([coin(run_seed, sample_id) for sample_id in ids]),
        )


def score_batch(batch: ScoringBatch, state: JudgeState, reference: TrainReference) -> dict[str, pa.Array]:
    """Return all scorers' columns; NaN becomes null."""
    columns: dict[str, pa.Array] = {"accept_coin": pa.array(batch.coins)}
    for scorer in SCORERS:
        for name, values in scorer.score(batch, state, reference).items():
            columns[name] = pa.array(values) if isinstance(values, list) else pa.array(values, from_pandas=True)
    return columns


def add_set_columns(table: pa.Table, cells: pa.Array, spec: SampleSpec, state: JudgeState) -> pa.Table:
    """Add what depends on the whole set in index order: distance to the nearest earlier candidate of the class.

    It is null for the first of a class, which has none.
    """
    labels = table["label"].to_numpy()
    distance = np.full(len(table), np.inf, np.float32)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        own = cells.take(pa.array(rows))
        distance[rows] = nearest_earlier(view_blocks(own, spec), first_view(own, spec))
    return table.append_column("nearest_earlier_distance", pa.array(distance, mask=np.isinf(distance))).append_column(
        "class_have", pa.array(state.class_have[labels])
    )


__all__ = [
    "SCORERS",
    "Bench",
    "JudgeState",
    "Scorer",
    "ScoringBatch",
    "TrainReference",
    "add_set_columns",
    "score_batch",
]
