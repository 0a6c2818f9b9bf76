"""The verdict: does synthetic data help, and can this test tell? Seeds alone would say *helps* far too often.

Delta is balanced accuracy with synthetic rows minus without, paired by seed and by test sample. Its variance is the sum
of what seeds and what test samples contribute: SE^2 = s^2_seeds / S + sum over classes of s^2_items / (n K^2). Items'
variance is taken about zero, as in McNemar's test (1947): a sum of differences over the root of the sum of their squares has
hardly more tail than a normal (Efron 1969), however few they are, so that a class of two cannot look certain; degrees of
freedom are for the seeds alone. One change that was not seen is added (Agresti and Min 2005 add one discordant pair).
Each new question put to the same test set gets a smaller share of the error budget (alpha spending, alpha / (k (k + 1))
for the k-th).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from aigc_pipeline.records import Estimate, Outcome, Verdict

ALPHA = 0.05
NEGLIGIBLE = 0.01
"""Effects under one point of balanced accuracy count as none."""
_POWER = 0.8


class Difference(NamedTuple):
    """A paired difference of balanced accuracies, in [-1, 1]."""

    delta: float
    error: float
    """Standard error, above 0."""
    critical: float
    """Standard errors to either end of the interval."""

    @property
    def low(self) -> float:
        """Lower end of the interval, within what is possible."""
        return max(self.delta - self.critical * self.error, -1.0)

    @property
    def high(self) -> float:
        """Upper end of the interval, within what is possible."""
        return min(self.delta + self.critical * self.error, 1.0)


def spend_alpha(opening: int, alpha: float = ALPHA) -> float:
    """Return the error probability of the k-th question to one test set; over all k they sum to `alpha`."""
    return alpha / (opening * (opening + 1))


def decide(
    baseline: NDArray[np.bool_],
    treated: NDArray[np.bool_],
    labels: NDArray[np.int64],
    *,
    baseline_name: str,
    dose: float,
    loss_weight: float,
    opening: int = 1,
) -> Verdict:
    """Return the verdict.

    Args:
        baseline: correct or not, `[seeds, items]`, of the chosen baseline.
        treated: the same with synthetic rows added; row s shares its seed with row s of `baseline`.
        labels: class of each test item, `[items]`.
        opening: the number of this question to the test set, at least 1.
    """
    alpha = spend_alpha(opening)
    found = paired_difference(baseline, treated, labels, alpha)
    detectable = min((found.critical + float(norm.ppf(_POWER))) * found.error, 1.0)
    outcome = _outcome(found.low, found.high)
    return Verdict(
        outcome=outcome,
        sentence=_sentence(outcome, found, detectable, baseline_name),
        baseline=baseline_name,
        uplift=Estimate(value=found.delta, ci_low=found.low, ci_high=found.high, n=len(labels)),
        standard_error=found.error,
        smallest_detectable=detectable,
        alpha=alpha,
        test_opening=opening,
        dose=dose,
        loss_weight=loss_weight,
    )


def paired_difference(
    baseline: NDArray[np.bool_], treated: NDArray[np.bool_], labels: NDArray[np.int64], alpha: float = ALPHA
) -> Difference:
    """Return Delta, its standard error and the critical value of a two-sided interval; arguments as for `decide`."""
    difference = treated.astype(np.float64) - baseline.astype(np.float64)
    by_seed = np.mean([difference[:, labels == label].mean(1) for label in np.unique(labels)], axis=0)
    num_seeds = len(by_seed)
    from_seeds = float(by_seed.var(ddof=1)) / num_seeds if num_seeds > 1 else 0.0
    variance = from_seeds + _from_items(difference.mean(0), labels)
    freedom = (num_seeds - 1) * (variance / from_seeds) ** 2 if from_seeds > 0 else math.inf  # Satterthwaite
    return Difference(float(by_seed.mean()), math.sqrt(variance), float(t.ppf(1 - alpha / 2, freedom)))


def _from_items(by_item: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Return what the choice of test items adds to the variance of Delta, above 0; `by_item` is averaged over seeds.

    The unseen change is as large as those seen, a whole one counted among them, and shared out among the classes.
    """
    classes, counts = np.unique(labels, return_counts=True)
    squares = np.array([np.sum(by_item[labels == label] ** 2) for label in classes])
    unseen = (1 + squares.sum()) / (1 + np.count_nonzero(by_item))
    return float(np.sum((squares + unseen / len(classes)) / counts**2)) / len(classes) ** 2


def _outcome(low: float, high: float) -> Outcome:
    if low > 0:
        return "helps"
    if high < 0:
        return "harms"
    return "does_not_help" if high < NEGLIGIBLE else "not_enough_evidence"


def _sentence(outcome: Outcome, found: Difference, detectable: float, baseline: str) -> str:
    said = {
        "helps": "The synthetic samples help",
        "harms": "The synthetic samples harm",
        "does_not_help": "The synthetic samples do not help",
        "not_enough_evidence": "There is not enough evidence that the synthetic samples help",
    }[outcome]
    sentence = (
        f"{said}: {_points(found.delta)} points of balanced accuracy over {baseline.replace('_', ' ')} "
        f"(interval {_points(found.low)} to {_points(found.high)})"
    )
    if outcome == "not_enough_evidence":
        return f"{sentence}; this test could have seen {100 * detectable:.1f} points or more."
    return f"{sentence}."


def _points(share: float) -> str:
    """Return a share as signed points with one digit; a rounded zero is never negative."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"
