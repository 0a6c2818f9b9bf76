"""The verdict: does synthetic data help, and can this test tell? Seeds alone would say *helps* far too often.

Delta is balanced accuracy with synthetic rows minus without, paired by seed and by test sample. Its variance is the sum
of what seeds and what test samples contribute: SE^2 = s^2_seeds / S + s^2_items / n. Each new question put to the same
test set gets a smaller share of the error budget (alpha spending, alpha / (k (k + 1)) for the k-th).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

from aigc_pipeline.records import Estimate, Outcome, Verdict

ALPHA = 0.05
NEGLIGIBLE = 0.01
"""Effects under one point of balanced accuracy count as none."""
_POWER = 0.8


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
        opening: how often this test set has been asked, this time included; at least 1.
    """
    alpha = spend_alpha(opening)
    delta, error, critical = paired_difference(baseline, treated, labels, alpha)
    low, high = delta - critical * error, delta + critical * error
    detectable = (critical + float(norm.ppf(_POWER))) * error
    outcome = _outcome(low, high)
    return Verdict(
        outcome=outcome,
        sentence=_sentence(outcome, delta, low, high, detectable, baseline_name),
        baseline=baseline_name,
        uplift=Estimate(value=delta, ci_low=low, ci_high=high, n=len(labels)),
        standard_error=error,
        smallest_detectable=detectable,
        alpha=alpha,
        test_opening=opening,
        dose=dose,
        loss_weight=loss_weight,
    )


def paired_difference(
    baseline: NDArray[np.bool_], treated: NDArray[np.bool_], labels: NDArray[np.int64], alpha: float = ALPHA
) -> tuple[float, float, float]:
    """Return Delta, its standard error and the critical value of a two-sided interval; arguments as for `decide`."""
    delta, error, freedom = _estimate(treated.astype(np.float64) - baseline.astype(np.float64), labels)
    return delta, error, float(t.ppf(1 - alpha / 2, freedom))


def _estimate(difference: NDArray[np.float64], labels: NDArray[np.int64]) -> tuple[float, float, float]:
    """Return Delta, its standard error and Satterthwaite's degrees of freedom."""
    classes = np.unique(labels)
    by_seed = np.stack([difference[:, labels == label].mean(1) for label in classes]).mean(0)
    by_item = difference.mean(0)
    counts = np.array([(labels == label).sum() for label in classes])
    spread = np.array(
        [by_item[labels == label].var(ddof=1) if n > 1 else np.nan for label, n in zip(classes, counts, strict=True)]
    )
    pooled = by_item.var(ddof=1) if len(by_item) > 1 else 0.0
    spread = np.where(np.isnan(spread), pooled, spread)
    from_items = float(np.sum(spread / counts) / len(classes) ** 2)
    num_seeds = len(by_seed)
    from_seeds = float(by_seed.var(ddof=1) / num_seeds) if num_seeds > 1 else 0.0
    variance = from_seeds + from_items
    if variance <= 0:
        return float(by_seed.mean()), 0.0, math.inf
    parts = (from_seeds**2 / max(num_seeds - 1, 1)) + from_items**2 / max(len(labels) - len(classes), 1)
    return float(by_seed.mean()), math.sqrt(variance), variance**2 / parts


def _outcome(low: float, high: float) -> Outcome:
    if low > 0:
        return "helps"
    if high < 0:
        return "harms"
    return "does_not_help" if high < NEGLIGIBLE else "not_enough_evidence"


def _sentence(outcome: Outcome, delta: float, low: float, high: float, detectable: float, baseline: str) -> str:
    said = {
        "helps": "The synthetic samples help",
        "harms": "The synthetic samples harm",
        "does_not_help": "The synthetic samples do not help",
        "not_enough_evidence": "There is not enough evidence that the synthetic samples help",
    }[outcome]
    sentence = (
        f"{said}: {_points(delta)} points of balanced accuracy over {baseline.replace('_', ' ')} "
        f"(interval {_points(low)} to {_points(high)})"
    )
    if outcome == "not_enough_evidence":
        return f"{sentence}; this test could have seen {100 * detectable:.1f} points or more."
    return f"{sentence}."


def _points(share: float) -> str:
    """Return a share as signed points with one digit; a rounded zero is never negative."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"
