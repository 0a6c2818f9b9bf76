"""Worth in real samples: the learning curve of the chosen baseline, turned around.

The baseline is trained on growing shares of the real samples. Past the last point its accuracy is continued as
error(n) = a + b n^-c, the usual form of learning curves (Viering and Loog 2021, "The shape of learning curves", §4);
four points cannot settle c, so it is 1/2 and the interval runs over a range of c as well as over seeds, test
items and the chance of which real samples there are.
No worth is claimed where the uplift or the end of the curve cannot be told from zero, nor beyond four times the data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.metrics.learning_curve import MAX_FACTOR, growth_factor, slope_at_end
from aigc_pipeline.metrics.uplift import accuracy_estimate
from aigc_pipeline.metrics.verdict import ALPHA, paired_difference
from aigc_pipeline.records import Estimate, LearningPoint, Worth

_EXPONENT = 0.5
_EXPONENTS = (0.0, 0.25, 0.5, 0.75)
"""c of the curve that the interval runs over; 0 stands for its limit, a straight line over log n."""
_NUM_DRAWS = 800
MAX_CLASS_CURVES = 3
"""Each is as many trainings as the curve of all classes."""
_MIN_SEEDS = 2
_MIN_SHARE = 0.5  # smaller parts of a small class vary by more than 1 / n says
Correct = NDArray[np.bool_]
Interval = tuple[float, float, float]
"""Value, lower and upper end."""
FloatArray = NDArray[np.float64]


def thinned_rows(
    labels: NDArray[np.int64], share: float, seed: int, classes: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """Return which real samples a point of the curve trains on: the share of `classes` (all by default), rounded up.

    With one seed, a larger share contains the smaller; give each seed of the training its own.
    """
    thinned = np.unique(labels) if classes is None else np.array(classes, np.int64)
    rows = [np.flatnonzero(~np.isin(labels, thinned))]
    for label in thinned:
        order = numpy_generator(seed, "thinned", int(label)).permutation(np.flatnonzero(labels == label))
        rows.append(order[: int(np.ceil(share * len(order)))])
    return np.sort(np.concatenate(rows)).astype(np.int64)


def shares_left(
    labels: NDArray[np.int64], shares: Sequence[float], classes: Sequence[int] | None = None
) -> dict[float, float]:
    """Return the points of a curve: what is left of the real samples (of `classes`, all by default) to the share asked for.

    Half of three samples is two: rounding up leaves more of small classes, and a curve over the shares asked for would be too
    flat. Points that leave everything, or as much as another does, are left out; empty where fewer than two remain.
    """
    thinned = labels if classes is None else labels[np.isin(labels, classes)]
    counts = np.unique(thinned, return_counts=True)[1]
    left = {float(np.ceil(share * counts).sum() / counts.sum()): share for share in shares}
    left.pop(1.0, None)
    return left if len(left) > 1 else {}


def measurable_classes(baseline: Correct, treated: Correct, labels: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the classes, at most 3, whose recall rises most and beyond chance: those that need a curve of their own.

    The error probability is shared out over the classes, so that a table of them seldom names one by chance.
    """
    rises = {int(k): _uplift(baseline, treated, labels, int(k)) for k in np.unique(labels)}
    found = [k for k, (_, low, _) in rises.items() if low > 0]
    return tuple(sorted(found, key=lambda k: -rises[k][0])[:MAX_CLASS_CURVES])


def worth_in_real_samples(
    curve: Mapping[float, Correct],
    treated: Correct,
    labels: NDArray[np.int64],
    counts: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    seed: int,
    class_curves: Mapping[int, Mapping[float, Correct]] | None = None,
    control: Correct | None = None,
) -> tuple[Worth, ...]:
    """Return the worth of the whole set (in samples of the same class mix), then of each class that has test items.

    A class's curve thins that class alone. A curve that thins all would count what the other classes lose as the gain of
    this one: on points with 16 samples in the rare class, doubling it looked worth more than twice as much.

    Args:
        curve: share of the real samples that is left, of every class about alike, to correct or not, `[seeds, items]`; 1 is
            among them. Each seed draws its own subsets, and a larger one contains the smaller.
        treated: correct or not with all real samples and the synthetic ones; row s shares its seed with row s of `curve`.
        labels: class of each test item, `[items]`.
        counts: real samples per class that share 1 stands for, `[classes]`.
        seed: of the bootstrap.
        class_curves: the same as `curve` by class index, where only that class is thinned, for `measurable_classes`; a
            class without one is said to be not measured.
        control: the same as `treated` with as many plain copies of real samples instead; what they do as well is worth
            nothing. None where it was not trained.

    Raises:
        ValueError: if share 1 is missing, there are fewer than three shares, or rows do not match.
    """
    class_curves = class_curves or {}
    for each in (curve, *class_curves.values()):
        _check(each, treated, labels)
    baseline = curve[1.0]
    present = [k for k in range(len(class_names)) if (labels == k).any()]
    whole = _Question(None, _Curve.of(curve, treated, labels, present, seed), int(counts.sum()))
    rivals = [baseline] if control is None else [baseline, control]
    answers = [whole.answer([_uplift(rival, treated, labels) for rival in rivals])]
    for k in present:
        measured = _Curve.of(class_curves[k], treated, labels, [k], seed) if k in class_curves else None
        question = _Question(class_names[k], measured, int(counts[k]))
        answers.append(question.answer([_uplift(rival, treated, labels, k) for rival in rivals]))
    return tuple(answers)


def _uplift(baseline: Correct, treated: Correct, labels: NDArray[np.int64], label: int | None = None) -> Interval:
    """Return the uplift and its interval: of balanced accuracy, or of one class's recall at its share of alpha."""
    if label is not None:
        num_classes, mine = len(np.unique(labels)), labels == label
        baseline, treated, labels = baseline[:, mine], treated[:, mine], labels[mine]
    found = paired_difference(baseline, treated, labels, ALPHA if label is None else ALPHA / num_classes)
    return found.delta, found.low, found.high


def _check(curve: Mapping[float, Correct], treated: Correct, labels: NDArray[np.int64]) -> None:
    shapes = {rows.shape for rows in (*curve.values(), treated)}
    if 1.0 not in curve or len(curve) < 3 or shapes != {(len(treated), len(labels))} or len(treated) < _MIN_SEEDS:
        msg = (
            f"worth needs the shares 1 and two smaller ones, each `[seeds >= 2, {len(labels)} items]`; got shares "
            f"{sorted(curve)} of shapes {sorted(shapes)}"
        )
        raise ValueError(msg)


@dataclass(frozen=True)
class _Curve:
    """Accuracy over shares, the treated arm last: as measured, and resampled."""

    shares: FloatArray
    points: tuple[Estimate, ...]
    means: FloatArray
    draws: FloatArray
    draw_deviation: float
    """See `_draw_deviation`."""
    num_items: int

    @classmethod
    def of(
        cls,
        curve: Mapping[float, Correct],
        treated: Correct,
        labels: NDArray[np.int64],
        classes: Sequence[int],
        seed: int,
    ) -> "_Curve":
        shares = sorted(curve)
        mine = np.isin(labels, classes)
        hits = np.stack([*(curve[share] for share in shares), treated])
        by_class = [hits[:, :, labels == k].astype(np.float64) for k in classes]
        recalls = np.mean([rows.mean(2) for rows in by_class], axis=0)[:-1]
        return cls(
            np.array(shares, np.float64),
            tuple(accuracy_estimate(rows[:, mine], labels[mine]) for rows in hits[:-1]),
            np.mean([rows.mean((1, 2)) for rows in by_class], axis=0),
            np.mean([_bootstrap(rows, seed, k) for k, rows in zip(classes, by_class, strict=True)], axis=0),
            _draw_deviation(recalls, np.array(shares)),
            int(mine.sum()),
        )


def _bootstrap(hits: FloatArray, seed: int, label: int) -> FloatArray:
    """Return mean accuracies of resampled seeds and items, `[draws, shares + 1]`; all shares share a resample.

    Args:
        hits: `[shares + 1, seeds, items]` of one class, the treated arm last.
    """
    generator = numpy_generator(seed, "worth", label)
    num_seeds, num_items = hits.shape[1:]
    # a stream of its own, because seeds must be resampled alike in every class
    by_seed = numpy_generator(seed, "worth seeds").multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), _NUM_DRAWS)
    by_item = generator.multinomial(num_items, np.full(num_items, 1 / num_items), _NUM_DRAWS)
    means = [((by_seed / num_seeds) @ each * (by_item / num_items)).sum(1) for each in hits]
    return np.stack(means, axis=1)


def _draw_deviation(accuracy: FloatArray, shares: FloatArray) -> float:
    """Return how much accuracy would vary with another draw of all N real samples, as a standard deviation sqrt(v).

    Between seeds, accuracy with s N of them varies by v (1 - s) / s beyond what training alone varies by. Growing the
    sample by a factor f, the old one included, changes accuracy with variance v (1 - 1 / f).

    Args:
        accuracy: `[shares, seeds]`, all real samples last.
    """
    is_large = (shares >= _MIN_SHARE) & (shares < 1)
    part, excess = shares[is_large], accuracy.var(1, ddof=1)[is_large] - accuracy[-1].var(ddof=1)
    return float(np.sqrt(max(0.0, np.mean(excess * part / (1 - part))))) if len(part) else 0.0


@dataclass(frozen=True)
class _Question:
    """The whole set, or one class; without a curve where the uplift is not measurable or not among the largest."""

    class_name: str | None
    curve: _Curve | None
    num_real: int

    def answer(self, uplifts: Sequence[Interval]) -> Worth:
        """Return the worth, or why there is none; uplifts are those over the baseline and, second, over the control."""
        estimate, sentence = None, self._why_not(uplifts)
        if sentence is None and self.curve is not None:
            estimate = self._estimate(self.curve, uplifts[0][0])
            sentence = self._sentence(estimate)
        return Worth(class_name=self.class_name, real_samples=estimate, sentence=sentence or "", curve=self._points())

    def _points(self) -> tuple[LearningPoint, ...]:
        if self.curve is None:
            return ()
        return tuple(
            LearningPoint(num_real=max(1, round(share * self.num_real)), accuracy=accuracy)
            for share, accuracy in zip(self.curve.shares, self.curve.points, strict=True)
        )

    def _why_not(self, uplifts: Sequence[Interval]) -> str | None:
        _, low, high = uplifts[0]
        of = f" of class {self.class_name}" if self.class_name else ""
        if high < 0:
            return f"Nothing: the synthetic samples lower the {f'recall{of}' if of else 'accuracy'}."
        if low <= 0:
            return f"Nothing measurable{of}: the uplift cannot be told from zero."
        if any(low <= 0 for _, low, _ in uplifts[1:]):
            return f"Nothing measurable{of}: as many plain copies of real samples may do the same."
        if self.curve is None:
            return f"Not measured{of}: its recall rises, but no curve was trained that thins this class alone."
        slope = slope_at_end(self.curve.draws[:, :-1], self.curve.shares)
        if np.quantile(slope, ALPHA / 2) <= 0:
            return (
                f"Nothing measurable{of}: the learning curve is flat here. More real samples would not be seen to help "
                "either, so that the uplift cannot be counted in them."
            )
        return None

    def _estimate(self, curve: _Curve, uplift: float) -> Estimate:
        """Return how many more real samples give the uplift; `ci_high` is None where the curve ends first."""
        value = float(growth_factor(curve.means[None, :-1], np.array([uplift]), curve.shares, _EXPONENT)[0])
        noise = numpy_generator(0, "worth draw").standard_normal(_NUM_DRAWS)
        noise *= curve.draw_deviation * np.sqrt(1 - 1 / value)
        gains = curve.draws[:, -1] - curve.draws[:, -2] + noise
        factors = np.concatenate([growth_factor(curve.draws[:, :-1], gains, curve.shares, c) for c in _EXPONENTS])
        low, high = np.quantile(factors, [ALPHA / 2, 1 - ALPHA / 2])
        return Estimate(
            value=self.num_real * (value - 1),
            ci_low=self.num_real * (min(float(low), value) - 1),
            ci_high=None if high >= MAX_FACTOR else self.num_real * (max(float(high), value) - 1),
            n=curve.num_items,
        )

    def _sentence(self, worth: Estimate) -> str:
        what = f"of class {self.class_name}" if self.class_name else "of the same class mix"
        low = max(0, round(worth.ci_low or 0))
        if worth.value >= (MAX_FACTOR - 1) * self.num_real:
            return f"As good as at least {low:,} more real samples {what}; the curve reaches no further."
        upper = f"{low:,} or more" if worth.ci_high is None else f"{low:,} to {round(worth.ci_high):,}"
        return f"As good as {round(worth.value):,} more real samples {what} ({upper})."
