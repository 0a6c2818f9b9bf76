from itertools import pairwise

import numpy as np
import pytest

from aigc_pipeline.metrics.verdict import decide, spend_alpha

SEEDS, ITEMS, CLASSES = 5, 240, 3


def simulate(
    effect: float, generator: np.random.Generator, *, harm: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correctness of two arms: items differ in difficulty, seeds differ as a whole, and arms differ by item and by seed."""
    labels = np.arange(ITEMS) % CLASSES
    difficulty = generator.normal(1.2, 1.2, ITEMS)
    both = difficulty[None] + generator.normal(0, 0.3, (SEEDS, 1))
    shift = generator.normal(0, 0.25, (SEEDS, 1)) + generator.normal(0, 0.4, (1, ITEMS))
    arms = [both, both + shift + (-effect if harm else effect)]
    noise = [generator.logistic(0, 0.5, (SEEDS, ITEMS)) for _ in arms]
    correct = [arm + each > 0 for arm, each in zip(arms, noise, strict=True)]
    return correct[0], correct[1], labels


def ask(correct, opening: int = 1):
    baseline, treated, labels = correct
    return decide(baseline, treated, labels, baseline_name="real", dose=0.25, loss_weight=1.0, opening=opening)


def test_null_effects_are_called_helpful_at_most_one_time_in_twenty():
    generator = np.random.default_rng(0)
    verdicts = [ask(simulate(0.0, generator)).outcome for _ in range(400)]

    assert verdicts.count("helps") / len(verdicts) <= 0.05
    assert verdicts.count("harms") / len(verdicts) <= 0.05


def test_a_large_effect_is_found():
    generator = np.random.default_rng(1)
    verdicts = [ask(simulate(0.9, generator)).outcome for _ in range(60)]

    assert verdicts.count("helps") / len(verdicts) >= 0.9


def test_harm_is_found():
    generator = np.random.default_rng(2)
    verdicts = [ask(simulate(0.9, generator, harm=True)).outcome for _ in range(60)]

    assert verdicts.count("harms") / len(verdicts) >= 0.9


def test_identical_arms_do_not_help():
    correct = np.ones((SEEDS, ITEMS), bool)

    verdict = decide(correct, correct, np.arange(ITEMS) % CLASSES, baseline_name="real", dose=0.25, loss_weight=1.0)

    assert verdict.outcome == "does_not_help"
    assert verdict.uplift.value == 0


def test_few_test_samples_are_not_enough_evidence_and_the_detectable_effect_is_said():
    generator = np.random.default_rng(3)
    baseline, treated = generator.random((SEEDS, 12)) < 0.7, generator.random((SEEDS, 12)) < 0.7

    verdict = decide(baseline, treated, np.arange(12) % 3, baseline_name="real", dose=0.25, loss_weight=1.0)

    assert verdict.outcome == "not_enough_evidence"
    assert f"{100 * verdict.smallest_detectable:.1f} points" in verdict.sentence


def test_each_new_question_to_one_test_set_gets_less_of_the_error_budget():
    shares = [spend_alpha(k) for k in range(1, 2000)]

    assert shares[0] == pytest.approx(0.025)
    assert all(a > b for a, b in pairwise(shares))
    assert sum(shares) < 0.05
    correct = simulate(0.3, np.random.default_rng(4))
    first, tenth = ask(correct, 1), ask(correct, 10)
    assert tenth.uplift.ci_low < first.uplift.ci_low


def test_balanced_accuracy_weighs_classes_equally():
    labels = np.array([0] * 90 + [1] * 10)
    baseline = np.zeros((2, 100), bool)
    treated = baseline.copy()
    treated[:, labels == 1] = True

    verdict = decide(baseline, treated, labels, baseline_name="real", dose=0.25, loss_weight=1.0)

    assert verdict.uplift.value == pytest.approx(0.5)
