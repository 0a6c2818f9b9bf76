"""How unlike the training data a sample is: three signs, each on the scale of unseen reals, added up.

No sign is best everywhere: distances of pixels find an unknown digit at 8 px and miss it at 28 px, where the directions
of features find it (benchmarks/anomaly.py). Lengths of features mislead: an unknown class often lies near the origin,
which an isolation forest takes for the most normal place of all. It is not a probability of being wrong.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.features import FittedEncoder
from aigc_pipeline.features.neighbours import nearest, nearest_over_views
from aigc_pipeline.features.views import view_blocks
from aigc_pipeline.scorers import TrainReference
from aigc_pipeline.scorers.in_distribution import conformal_p, outlyingness

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Signs:
    """What is read off n samples, `[n]` each: larger means more unlike. `features` and `logits` are kept for scorers."""

    angle: FloatArray
    """Distance to the nearest training sample between features of unit length (Sun et al. 2022, section 3, at k = 1)."""
    train_distance: FloatArray
    """Smallest root-mean-square difference to a training sample over harmless shifts, as the near-copy gate reads it."""
    doubt: FloatArray | None
    """Minus the referee's largest logit (Hendrycks et al. 2022, MaxLogit); None without a referee."""
    knn_distance: FloatArray
    """Distance to the 5th nearest training sample between features as they are. Not added up; `ood_p` reads it."""
    nearest_row: NDArray[np.int64]
    """The training row at `train_distance`."""
    features: FloatArray
    logits: FloatArray | None

    def summands(self) -> list[FloatArray]:
        """Return the signs that are added up."""
        return [self.angle, self.train_distance, *([] if self.doubt is None else [self.doubt])]


def read_signs(cells: pa.Array, encoder: FittedEncoder, reference: TrainReference) -> Signs:
    """Read the signs of stored cells against the training split."""
    features, logits = encoder.encode_with_logits(cells) if encoder.has_head else (encoder.encode(cells), None)
    distance, row = nearest_over_views(view_blocks(cells, encoder.spec), reference.prepared_view)
    return Signs(
        angle=nearest(unit_length(features), unit_length(reference.features), 1)[0][:, 0],
        train_distance=distance,
        doubt=None if logits is None else -logits.max(1),
        knn_distance=outlyingness(features, reference.features),
        nearest_row=row,
        features=features,
        logits=logits,
    )


def unit_length(features: FloatArray) -> FloatArray:
    """Return rows of Euclidean length 1; a row of zeros stays one."""
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12), np.float32)


@dataclass(frozen=True)
class Scale:
    """Centre and spread of each sign over unseen reals, and their sorted unlikeness."""

    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    holdout: NDArray[np.float64]

    @classmethod
    def of(cls, holdout: Signs) -> "Scale":
        """Take the scale from reals that the encoder was not fitted on; at least 2 of them."""
        summands = holdout.summands()
        centres = tuple(float(each.mean()) for each in summands)
        spreads = tuple(max(float(each.std()), 1e-12) for each in summands)
        scale = cls(centres, spreads, np.zeros(0))
        return cls(centres, spreads, np.sort(scale.unlikeness(holdout)))

    def unlikeness(self, signs: Signs) -> NDArray[np.float64]:
        """Return the sum of the signs in standard deviations of unseen reals, `[n]`: about 0 for a sample like those."""
        parts = zip(signs.summands(), self.centres, self.spreads, strict=True)
        terms = [(sign.astype(np.float64) - centre) / spread for sign, centre, spread in parts]
        return np.asarray(np.sum(terms, axis=0), np.float64)

    def p_value(self, signs: Signs) -> NDArray[np.float64]:
        """Return the conformal p-value (Bates et al. 2023, Eq. 2): the share of unseen reals that are as unlike."""
        return conformal_p(self.unlikeness(signs), self.holdout)
