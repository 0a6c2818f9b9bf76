"""Sets of features against unseen reals, at equal n and equal class mix: draws without replacement give the interval."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.features.stored import LabelledFeatures
from aigc_pipeline.metrics.frechet import diagonal_frechet_distance, frechet_distance
from aigc_pipeline.metrics.kernel import Kernel, cubic, gaussian, median_squared_distance, unbiased_mmd
from aigc_pipeline.metrics.prdc import prdc
from aigc_pipeline.metrics.vendi import vendi_score
from aigc_pipeline.records import Estimate

NEIGHBOURS = 5
NULL = "real"
"""The pool of reals that are not the reference: what a perfect generator would score."""
_FULL_COVARIANCE_ROWS = 5
"""Rows per dimension from which a covariance is estimated in full."""
_SAME = 1e-9
FloatArray = NDArray[np.float32]
Row = dict[str, str | int | float | None]


def compare(
    reference: LabelledFeatures,
    pools: Mapping[str, LabelledFeatures],
    *,
    num_classes: int,
    num_draws: int,
    seed: int,
) -> dict[str, Estimate]:
    """Return `<metric>/<pool>` for every pool that has rows; nothing where the common n is 10 or less.

    The metrics: `frechet_distance`, `precision`, `recall`, `density`, `coverage`, `kid` and `mmd_rbf` against the
    reference (the latter's sigma^2 is the median squared distance within the reference; absent where that is 0), and
    `vendi` of the pool alone. `frechet_z/<pool>` is the pool's Frechet distance in standard deviations of the
    real-vs-real draws from their mean; absent for that pool itself, and where its draws do not differ. Draws from a pool
    hardly larger than n are nearly the same, which makes their spread small and z large.

    Args:
        reference: unseen reals.
        pools: what is compared with them; each draw takes the same number of every class from all. The one called
            "real" is the null.
    """
    labels = [reference.labels, *(pool.labels for pool in pools.values() if len(pool.labels))]
    counts = common_counts(labels, num_classes)
    if counts.sum() <= 2 * NEIGHBOURS:
        return {}
    kernels = _kernels(reference.features)
    draws: dict[str, list[dict[str, float]]] = {}
    for name, pool in pools.items():
        for i in range(num_draws if len(pool.labels) else 0):
            generator = numpy_generator(seed, "subsample", name, i)
            chosen = pool.features[draw(pool.labels, counts, generator)]
            real = reference.features[draw(reference.labels, counts, generator)]
            draws.setdefault(name, []).append(_measure(real, chosen, kernels))
    n = int(counts.sum())
    estimates = {
        f"{metric}/{name}": _estimate([each[metric] for each in measured], n)
        for name, measured in draws.items()
        for metric in measured[0]
    }
    null = [each["frechet_distance"] for each in draws.get(NULL, ())]
    return {**estimates, **_z_scores(estimates, null)}


def compare_per_class(
    reference: LabelledFeatures, pools: Mapping[str, LabelledFeatures], *, class_names: Sequence[str], seed: int
) -> list[Row]:
    """Return a row per class and pool: class, set, n, covariance, frechet_distance, precision, recall, density, coverage.

    Sees what the whole set hides: labels that do not fit, and a class that is lost. One draw at the n that all pools of
    the class share; no intervals. A pool (or the reference) with 10 rows or less of a class has no row for it.
    `covariance` is "diagonal" where n is under 5 d, else "full": distances of different covariances cannot be compared.
    """
    rows: list[Row] = []
    for label, class_name in enumerate(class_names):
        unseen = reference.of_class(label)
        sets = {name: pool.of_class(label) for name, pool in pools.items()}
        sets = {name: own for name, own in sets.items() if len(own) > 2 * NEIGHBOURS}
        if len(unseen) <= 2 * NEIGHBOURS or not sets:
            continue
        n = min(len(unseen), *(len(own) for own in sets.values()))
        generator = numpy_generator(seed, "per class", class_name)
        real = unseen[generator.permutation(len(unseen))[:n]]
        for name, own in sets.items():
            fake = own[generator.permutation(len(own))[:n]]
            rows.append({"class": class_name, "set": name, "n": n, **_measure_class(real, fake)})
    return rows


def common_counts(label_sets: Sequence[NDArray[np.int64]], num_classes: int) -> NDArray[np.int64]:
    """Return per class the number that every set can give."""
    counts = np.stack([np.bincount(labels, minlength=num_classes) for labels in label_sets])
    return np.asarray(counts.min(0), np.int64)


def draw(labels: NDArray[np.int64], counts: NDArray[np.int64], generator: np.random.Generator) -> NDArray[np.int64]:
    """Return rows, `counts[k]` of class k, without replacement."""
    return np.concatenate(
        [generator.permutation(np.flatnonzero(labels == label))[:count] for label, count in enumerate(counts)]
    ).astype(np.int64)


def _kernels(reference: FloatArray) -> dict[str, Kernel]:
    kernels, width = {"kid": cubic(reference.shape[1])}, median_squared_distance(reference)
    if width > 0:
        kernels["mmd_rbf"] = gaussian(width)
    return kernels


def _measure(real: FloatArray, fake: FloatArray, kernels: Mapping[str, Kernel]) -> dict[str, float]:
    return {
        "frechet_distance": frechet_distance(real, fake),
        **_shares(real, fake),
        **unbiased_mmd(kernels, real, fake),
        "vendi": vendi_score(fake),
    }


def _measure_class(real: FloatArray, fake: FloatArray) -> dict[str, str | float]:
    is_full = len(real) >= _FULL_COVARIANCE_ROWS * real.shape[1]
    distance = frechet_distance if is_full else diagonal_frechet_distance
    return {
        "covariance": "full" if is_full else "diagonal",
        "frechet_distance": distance(real, fake),
        **_shares(real, fake),
    }


def _shares(real: FloatArray, fake: FloatArray) -> dict[str, float]:
    shares = prdc(real, fake, NEIGHBOURS)
    return {
        "precision": shares.precision,
        "recall": shares.recall,
        "density": shares.density,
        "coverage": shares.coverage,
    }


def _estimate(values: Sequence[float], n: int) -> Estimate:
    low, high = (float(q) for q in np.quantile(values, [0.025, 0.975]))
    return Estimate(value=float(np.mean(values)), ci_low=low, ci_high=high, n=n)


def _z_scores(estimates: Mapping[str, Estimate], null: Sequence[float]) -> dict[str, Estimate]:
    """Return `frechet_z/<pool>` for every pool but the null."""
    if len(null) < 2:
        return {}
    mean, spread = float(np.mean(null)), float(np.std(null, ddof=1))
    if spread <= _SAME * abs(mean):
        return {}
    found = {}
    for key, each in estimates.items():
        metric, _, name = key.partition("/")
        if metric == "frechet_distance" and name != NULL:
            low, value, high = ((x - mean) / spread for x in (each.ci_low, each.value, each.ci_high) if x is not None)
            found[f"frechet_z/{name}"] = Estimate(value=value, ci_low=low, ci_high=high, n=each.n)
    return found
