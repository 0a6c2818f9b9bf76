from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import t

from aigc_pipeline.metrics.verdict import decide, paired_difference, spend_alpha

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


def test_the_standard_error_adds_what_seeds_and_what_items_contribute():
    difference = np.array([[1, 0, 0, 0], [1, 1, 0, 0]], bool)

    delta, error, critical = paired_difference(np.zeros((2, 4), bool), difference, np.array([0, 0, 1, 1]))

    from_seeds = np.var([0.25, 0.5], ddof=1) / 2
    unseen = (1 + 1.25) / (1 + 2)
    from_items = (1.25 + unseen / 2 + 0 + unseen / 2) / 2**2 / 2**2
    freedom = (from_seeds + from_items) ** 2 / (from_seeds**2 / 1)
    assert delta == pytest.approx(0.375)
    assert error == pytest.approx(np.sqrt(from_seeds + from_items))
    assert critical == pytest.approx(t.ppf(0.975, freedom))


def test_forty_items_without_a_change_do_not_exclude_one_point():
    correct = np.ones((SEEDS, 40), bool)

    verdict = ask((correct, correct, np.repeat([0, 1], 20)))

    assert verdict.outcome == "not_enough_evidence"
    assert verdict.standard_error == pytest.approx(1 / 40)


def test_two_items_of_a_rare_class_are_no_evidence():
    treated = np.ones((SEEDS, 40), bool)
    baseline = treated.copy()
    baseline[:, :2] = False

    verdict = ask((baseline, treated, np.array([0, 0] + [1] * 38)))

    assert verdict.uplift.value == pytest.approx(0.5)
    assert verdict.outcome == "not_enough_evidence"


@pytest.mark.parametrize("counts", [[200, 2], [100] * 8 + [2, 2]])
def test_rare_classes_keep_the_level_of_the_null(counts):
    generator = np.random.default_rng(8)
    labels = np.repeat(np.arange(len(counts)), counts)
    helps = 0
    for _ in range(500):
        items = generator.normal(0.4, 2, len(labels)) + generator.normal(0, 2, (2, 1, len(labels)))
        baseline, treated = items + generator.normal(0, 0.3, (2, SEEDS, len(labels))) > 0
        helps += ask((baseline, treated, labels)).outcome == "helps"

    assert helps <= 500 * spend_alpha(1) / 2


def test_intervals_stay_within_what_is_possible():
    baseline, treated = np.zeros((2, 4), bool), np.zeros((2, 4), bool)
    treated[0] = True

    verdict = ask((baseline, treated, np.arange(4) % 2))

    assert (verdict.uplift.ci_low, verdict.uplift.ci_high, verdict.smallest_detectable) == (-1, 1, 1)


def test_the_standard_error_is_never_too_small_and_at_most_root_two_too_large():
    generator = np.random.default_rng(5)
    answers = np.array([paired_difference(*simulate(0.0, generator))[:2] for _ in range(300)])

    ratio = np.sqrt((answers[:, 1] ** 2).mean()) / answers[:, 0].std()
    assert 0.95 <= ratio <= 1.5  # noise of a seed on an item is counted with seeds and with items


def test_effects_as_large_as_the_printed_detectable_effect_are_found_four_times_in_five():
    generator = np.random.default_rng(6)
    found = []
    for effect in (0.4, 0.5, 0.6, 0.7):
        verdicts = [ask(simulate(effect, generator)) for _ in range(150)]
        truth = np.mean([verdict.uplift.value for verdict in verdicts])
        found += [v.outcome == "helps" for v in verdicts if 0.9 <= truth / v.smallest_detectable <= 1.1]

    assert len(found) > 100
    assert np.mean(found) >= 0.75


def test_five_nights_with_new_useless_sets_on_one_test_set_seldom_end_in_a_false_helps():
    generator = np.random.default_rng(7)
    sequences = []
    for _ in range(100):
        difficulty = generator.normal(1.2, 1.2, ITEMS)
        sequences.append([ask(useless(difficulty, generator), night).outcome for night in range(1, 6)])

    assert sum("helps" in nights for nights in sequences) <= 5


def useless(difficulty: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correctness of two arms that differ by item and by seed, but are as good: either could be the baseline."""
    half = generator.normal(0, 0.1, (SEEDS, 1)) + generator.normal(0, 0.2, (1, ITEMS))
    arms = [difficulty + sign * half + generator.logistic(0, 0.5, (SEEDS, ITEMS)) > 0 for sign in (-1, 1)]
    return arms[0], arms[1], np.arange(ITEMS) % CLASSES
