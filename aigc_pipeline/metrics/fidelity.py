"""Sets of features against unseen reals, at equal n and equal class mix: draws without replacement give the interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.metrics.frechet import frechet_distance
from aigc_pipeline.metrics.prdc import prdc
from aigc_pipeline.records import Estimate

NEIGHBOURS = 5
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class LabelledFeatures:
    """Features `[n, d]` with the class of each row."""

    features: FloatArray
    labels: NDArray[np.int64]


def compare(
    reference: LabelledFeatures,
    pools: Mapping[str, LabelledFeatures],
    *,
    num_classes: int,
    num_draws: int,
    seed: int,
) -> dict[str, Estimate]:
    """Return `<metric>/<pool>` for every pool that has rows; nothing where the common n is 10 or less.

    Args:
        reference: unseen reals.
        pools: what is compared with them; each draw takes the same number of every class from all.
    """
    labels = [reference.labels, *(pool.labels for pool in pools.values() if len(pool.labels))]
    counts = common_counts(labels, num_classes)
    if counts.sum() <= 2 * NEIGHBOURS:
        return {}
    estimates: dict[str, Estimate] = {}
    for name, pool in pools.items():
        draws = []
        for i in range(num_draws if len(pool.labels) else 0):
            generator = numpy_generator(seed, "subsample", name, i)
            chosen = pool.features[draw(pool.labels, counts, generator)]
            draws.append(_measure(reference.features[draw(reference.labels, counts, generator)], chosen))
        for metric in draws[0] if draws else ():
            values = np.array([each[metric] for each in draws])
            low, high = (float(q) for q in np.quantile(values, [0.025, 0.975]))
            n = int(counts.sum())
            estimates[f"{metric}/{name}"] = Estimate(value=float(values.mean()), ci_low=low, ci_high=high, n=n)
    return estimates


def common_counts(label_sets: Sequence[NDArray[np.int64]], num_classes: int) -> NDArray[np.int64]:
    """Return per class the number that every set can give."""
    counts = np.stack([np.bincount(labels, minlength=num_classes) for labels in label_sets])
    return np.asarray(counts.min(0), np.int64)


def draw(labels: NDArray[np.int64], counts: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Return rows, `counts[k]` of class k, without replacement."""
    return np.concatenate(
        [generator.permutation(np.flatnonzero(labels == label))[:count] for label, count in enumerate(counts)]
    ).astype(np.int64)


def _measure(real: FloatArray, fake: FloatArray) -> dict[str, float]:
    shares = prdc(real, fake, NEIGHBOURS)
    return {
        "frechet_distance": frechet_distance(real, fake),
        "precision": shares.precision,
        "recall": shares.recall,
        "density": shares.density,
        "coverage": shares.coverage,
    }
