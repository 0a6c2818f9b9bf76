"""Worth on a simulated classifier whose learning curve is known, so that hundreds of trainings take a second."""

import numpy as np
import pytest

from aigc_pipeline.metrics.learning_curve import MAX_FACTOR, growth_factor
from aigc_pipeline.metrics.worth import (
    _bootstrap,
    _Curve,
    _draw_deviation,
    _Question,
    measurable_classes,
    shares_left,
    thinned_rows,
    worth_in_real_samples,
)
from aigc_pipeline.records import Estimate

NUM_REAL, NUM_ITEMS, NUM_CLASSES = 120, 1_200, 3
LABELS = np.arange(NUM_ITEMS) % NUM_CLASSES
COUNTS = np.full(NUM_CLASSES, NUM_REAL // NUM_CLASSES)
NAMES = ("a", "b", "c")
SHARES = (0.25, 0.5, 0.75, 1.0)


def accuracy(num_real: float) -> float:
    return 0.95 - 2.0 * num_real**-0.45


def hits(rate: float, ease: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Items keep their ease over shares and seeds, as real test items do."""
    noise = generator.normal(0, 0.06, (5, NUM_ITEMS)) + generator.normal(0, 0.002, (5, 1))
    return ease + noise < rate


def case(seed: int, more: int, *, curve=accuracy):
    generator = np.random.default_rng(seed)
    ease = generator.permutation(np.linspace(0, 1, NUM_ITEMS))
    shares = {share: hits(curve(share * NUM_REAL), ease, generator) for share in SHARES}
    return shares, hits(curve(NUM_REAL + more), ease, generator)


def whole(seed: int, more: int, **changes):
    shares, treated = case(seed, more, **changes)
    return worth_in_real_samples(shares, treated, LABELS, COUNTS, NAMES, seed=seed)[0]


def test_the_interval_holds_the_samples_that_were_held_back_and_the_median_is_near():
    found = [whole(seed, NUM_REAL).real_samples for seed in range(20)]
    measured = [each for each in found if each is not None]
    holds = [each.ci_low <= NUM_REAL and (each.ci_high is None or each.ci_high >= NUM_REAL) for each in measured]

    assert len(measured) >= 18
    assert np.mean(holds) >= 0.9
    assert NUM_REAL / 1.5 < np.median([each.value for each in measured]) < NUM_REAL * 1.5


def test_what_adds_nothing_is_worth_nothing_measurable():
    found = [whole(seed, 0) for seed in range(20)]

    assert np.mean([each.real_samples is None for each in found]) >= 0.9
    assert any("cannot be told from zero" in each.sentence for each in found)


def test_a_flat_curve_gives_no_worth_and_says_so():
    def flat(num_real: float) -> float:
        return 0.75 if num_real <= NUM_REAL else 0.82

    worth = whole(0, 1, curve=flat)

    assert worth.real_samples is None
    assert "the learning curve is flat" in worth.sentence


def test_harm_is_called_harm():
    assert whole(0, -70).sentence == "Nothing: the synthetic samples lower the accuracy."


def test_the_curve_is_not_continued_beyond_four_times_the_data():
    worth = whole(0, 100 * NUM_REAL)

    assert worth.real_samples is not None
    assert worth.real_samples.value == pytest.approx((MAX_FACTOR - 1) * NUM_REAL)
    assert worth.real_samples.ci_high is None
    assert worth.sentence.startswith("As good as at least")


def test_every_class_is_answered_and_one_without_a_curve_is_not_measured():
    shares, treated = case(3, 3 * NUM_REAL)
    answers = worth_in_real_samples(shares, treated, LABELS, COUNTS, NAMES, seed=0, class_curves={1: shares})

    assert [each.class_name for each in answers] == [None, *NAMES]
    assert answers[2].real_samples is not None
    assert "more real samples of class b" in answers[2].sentence
    assert answers[1].sentence.startswith("Not measured of class a")
    assert [point.num_real for point in answers[0].curve] == [30, 60, 90, 120]


def test_classes_are_measurable_where_recall_rises_beyond_chance():
    shares, _ = case(5, 0)
    treated = shares[1.0].copy()
    treated[:, np.flatnonzero(LABELS == 2)[:300]] = True

    assert measurable_classes(shares[1.0], treated, LABELS) == (2,)


@pytest.mark.parametrize(("num_risen", "found"), [(5, ()), (8, (2,))])
def test_a_class_is_measurable_at_its_share_of_the_error_probability(num_risen, found):
    """Five items that rose are beyond chance at 5 %, and not where three classes are looked at."""
    baseline = np.ones((2, 60), bool)
    labels = np.repeat([0, 1, 2], 20)
    baseline[:, 40 : 40 + num_risen] = False

    assert measurable_classes(baseline, np.ones((2, 60), bool), labels) == found


def test_the_chance_of_which_real_samples_there_are_widens_the_interval():
    def width(deviation: float) -> float:
        found = question(deviation=deviation).answer([(0.02, 0.01, 0.03)]).real_samples
        return found.ci_high - found.ci_low

    assert width(0.01) > 2 * width(0.0)


def test_a_curve_that_may_be_flat_gives_no_worth():
    """Its slope is above 0 at the middle of its draws, and not at their lower end."""
    noise = np.random.default_rng(0).normal(0, 0.05, (800, 1)) * np.array([[-1, 0, 1, 1]])
    sentence = question(noise).answer([(0.02, 0.01, 0.03)]).sentence

    assert "the learning curve is flat" in sentence


def test_seeds_are_resampled_alike_in_every_class():
    by_seed = np.random.default_rng(0).random((4, 5, 1)) * np.ones((4, 5, 7))

    np.testing.assert_allclose(_bootstrap(by_seed, 3, 0), _bootstrap(by_seed, 3, 1))


def test_the_deviation_of_another_draw_is_read_off_the_spread_between_subsets():
    """Accuracy with s N of N samples varies by v (1 - s) / s beyond what training varies by."""
    shares, generator = np.array([0.25, 0.5, 0.75, 1.0]), np.random.default_rng(0)
    variance = 0.02**2 * (1 - shares) / shares + 0.01**2
    found = _draw_deviation(generator.normal(0.8, np.sqrt(variance)[:, None], (4, 20_000)), shares)

    assert found == pytest.approx(0.02, rel=0.03)
    assert _draw_deviation(np.full((4, 3), 0.8), shares) == 0


MEANS = np.array([0.70, 0.76, 0.80, 0.82])
"""Of half the samples, of three quarters, of all, and with synthetic ones."""
POINTS = tuple(Estimate(value=value, n=100) for value in MEANS[:3])


def question(noise: np.ndarray | float = 0.0, *, deviation: float = 0.0) -> _Question:
    curve = _Curve(np.array([0.5, 0.75, 1.0]), POINTS, MEANS, np.tile(MEANS, (800, 1)) + noise, deviation, 100)
    return _Question(None, curve, NUM_REAL)


def test_the_same_seed_gives_the_same_worth():
    assert whole(1, NUM_REAL) == whole(1, NUM_REAL)


def test_smaller_shares_are_inside_larger_ones_and_other_classes_stay_whole():
    labels = np.repeat([0, 1], [20, 10])
    quarter, half = (set(thinned_rows(labels, share, 3, [1]).tolist()) for share in (0.25, 0.5))

    assert quarter < half
    assert set(range(20)) < quarter
    assert (len(quarter), len(half)) == (23, 25)
    assert len(thinned_rows(labels, 1.0, 3)) == 30


def test_a_share_of_a_small_class_is_what_rounding_up_leaves_of_it():
    labels = np.repeat([0, 1, 2], [3, 8, 1])

    assert shares_left(labels, (0.5, 0.75), [1]) == {0.5: 0.5, 0.75: 0.75}
    assert shares_left(labels, (0.25, 0.5, 0.75), [0]) == {1 / 3: 0.25, 2 / 3: 0.5}
    assert shares_left(labels, (0.5, 0.75), [0]) == {}  # two of three, and all
    assert shares_left(labels, (0.5, 0.75), [2]) == {}
    for left, share in shares_left(labels, (0.5, 0.75)).items():
        assert left == len(thinned_rows(labels, share, 0)) / 12


def test_a_small_class_is_not_worth_more_for_being_rounded_up():
    """Error falls with the root of the number of samples; half as many more are worth just that."""
    counts = np.array([3, 4, 5])  # what 0.5 and 0.75 leave of five
    left = np.array([*shares_left(np.zeros(5, np.int64), (0.5, 0.75)), 1.0])
    gain = 0.6 * (5**-0.5 - 7.5**-0.5)

    assert growth_factor(0.9 - 0.6 * counts[None] ** -0.5, np.array([gain]), left, 0.5) == pytest.approx([1.5])


def test_a_curve_without_all_real_samples_is_refused():
    shares, treated = case(0, 0)
    del shares[1.0]

    with pytest.raises(ValueError, match="shares 1 and two smaller ones"):
        worth_in_real_samples(shares, treated, LABELS, COUNTS, NAMES, seed=0)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_a_curve_of_the_assumed_form_is_turned_around_exactly(exponent: float):
    shares = np.array(SHARES)

    def exact(share):
        return 0.8 + 0.1 * np.log(share) if exponent == 0 else 0.9 - 0.1 * share**-exponent

    gain = exact(2.5) - exact(1.0)

    assert growth_factor(exact(shares)[None], np.array([gain]), shares, exponent) == pytest.approx([2.5])


def test_what_plain_copies_do_as_well_is_worth_nothing():
    shares, treated = case(4, 3 * NUM_REAL)
    worth, *_ = worth_in_real_samples(shares, treated, LABELS, COUNTS, NAMES, seed=0, control=treated)

    assert worth.real_samples is None
    assert "plain copies" in worth.sentence
