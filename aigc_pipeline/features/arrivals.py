"""Are the samples that came since the last run like the earlier ones of their class? What a nightly run is to notice.

Each is compared with samples that the encoder had not seen either, so that about one in twenty counts as unlike by
chance: a conformal test (Vovk, Gammerman and Shafer 2005, section 2.2) at 5 %, whose score is the distance to the nearest known sample.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.features.stored import FloatArray, LabelledFeatures

UNLIKE = 0.05
"""Share of samples like the earlier ones that counts as unlike all the same."""
_NOTABLE_SHARE, _NOTABLE_P = 0.1, 1e-3
_MIN_OF_A_CLASS = 20


def unlike(arrived: LabelledFeatures, known: LabelledFeatures, unseen: LabelledFeatures) -> NDArray[np.bool_]:
    """Tell, per arrived sample, whether it is farther from the known ones of its class than 95 % of the unseen are.

    Where a class has fewer than 20 unseen samples, those of all classes are the measure. A class without a known sample
    has nothing to be unlike.
    """
    far, usual = _distances(arrived, known), _distances(unseen, known)
    found = np.zeros(len(arrived), np.bool_)
    for label in np.unique(arrived.labels):
        rows, own = arrived.labels == label, usual[unseen.labels == label]
        limit = _limit(own if len(own) >= _MIN_OF_A_CLASS else usual)
        found[rows] = np.isfinite(far[rows]) & (far[rows] > limit)
    return found


def is_notable(num_unlike: int, num_arrived: int, num_unseen: int) -> bool:
    """Tell whether more are unlike than chance explains (at .001), and over one in ten.

    How many of m further samples exceed the r-th of n is beta-binomial, with parameters n + 1 - r and r, whatever their distribution.
    """
    if num_unlike <= _NOTABLE_SHARE * num_arrived:
        return False
    rank = _rank(num_unseen)
    return float(betabinom.sf(num_unlike - 1, num_arrived, num_unseen + 1 - rank, rank)) < _NOTABLE_P


def _distances(rows: LabelledFeatures, known: LabelledFeatures) -> FloatArray:
    """Return the distance to the nearest known sample of the same class; infinite where there is none."""
    found = np.full(len(rows), np.inf, np.float32)
    for label in np.unique(rows.labels):
        reference = known.of_class(label)
        if len(reference):
            found[rows.labels == label] = nearest(rows.of_class(label), reference, 1)[0][:, 0]
    return found


def _limit(usual: FloatArray) -> float:
    """Return the distance that a further sample exceeds with probability 5 % at most; infinite where too few are known."""
    rank = _rank(len(usual))
    return float(np.sort(usual)[rank - 1]) if rank <= len(usual) else np.inf


def _rank(n: int) -> int:
    """Return which of n sorted distances is the limit."""
    return int(np.ceil((1 - UNLIKE) * (n + 1)))
