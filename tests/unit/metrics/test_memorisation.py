import numpy as np
import pytest

from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.metrics.memorisation import (
    Copying,
    authenticity,
    copying,
    is_authentic,
    near_copy_share,
    training_spacing,
)
from aigc_pipeline.metrics.screening import Limits, screen


def authentic(samples: np.ndarray, train: np.ndarray) -> np.ndarray:
    samples, train = np.float32(samples), np.float32(train)
    distance, matched = nearest(samples, train, 1)
    return is_authentic(distance[:, 0], matched[:, 0], training_spacing(train))


def test_the_radius_is_that_of_the_matched_training_sample_and_not_of_the_samples_own_row():
    train = np.array([[0.0], [1.0], [100.0], [150.0]])  # spacings 1, 1, 50, 50
    samples = np.array([[120.0], [102.0], [-2.0], [0.5]])  # matched with rows 2, 2, 0 and a tie of 0 and 1

    assert authentic(samples, train).tolist() == [False, False, True, False]


def test_copies_are_not_authentic_and_about_half_of_unseen_reals_are():
    generator = np.random.default_rng(0)
    train, unseen = generator.standard_normal((2, 600, 8)).astype(np.float32)
    found = authenticity({"after": train[:200] + np.float32(1e-3), "real": unseen, "none": unseen[:0]}, train)

    assert set(found) == {"authenticity/after", "authenticity/real"}
    assert found["authenticity/after"].value == 0
    assert found["authenticity/real"].value == pytest.approx(0.5, abs=0.08)
    assert found["authenticity/real"].ci_low < found["authenticity/real"].value < found["authenticity/real"].ci_high
    assert (found["authenticity/after"].n, found["authenticity/real"].n) == (200, 600)


def test_authenticity_equals_the_definition_by_brute_force():
    generator = np.random.default_rng(1)
    train, samples = generator.standard_normal((120, 3)), generator.standard_normal((90, 3)) * 0.8
    across = np.linalg.norm(samples[:, None] - train[None], axis=2)
    within = np.linalg.norm(train[:, None] - train[None], axis=2) + np.diag(np.full(120, np.inf))
    expected = across.min(1) > within.min(1)[across.argmin(1)]

    assert (authentic(samples, train) == expected).all()
    assert 0.05 < expected.mean() < 0.95


def test_a_copy_of_a_training_sample_that_occurs_twice_is_no_less_a_copy():
    train = np.array([[0.0], [0.0], [5.0]])

    assert authentic(np.array([[0.0]]), train).tolist() == [False]


def test_near_copies_are_nearer_than_all_but_a_hundredth_of_unseen_reals():
    unseen = np.linspace(1, 2, 101)  # its 1 % quantile is 1.01

    assert near_copy_share(np.array([0.0, 1.0, 1.009, 1.011, 3.0]), unseen) == pytest.approx(0.6)
    assert near_copy_share(unseen, unseen) == pytest.approx(1 / 101)


def test_the_share_that_is_nearer_counts_the_samples_that_were_compared():
    flags = np.zeros(40, bool)
    compared = copying(np.linspace(1, 2, 15), np.linspace(1, 2, 15))  # 15 of the 40: as many as there are unseen reals

    found = screen(flags, flags, flags, compared, Limits(0.05, -3.0, 0.75)).estimates

    assert found["nearer_than_unseen_reals/after"].n == 15
    assert found["near_copy_rate/after"].n == 40


@pytest.mark.parametrize(("copies", "failed"), [(3, False), (8, True)])
def test_a_share_of_copies_over_the_limit_fails_only_where_chance_does_not_explain_it(copies, failed):
    """3 of 40 are over 5 %, and their lower bound is not."""
    flags = np.arange(40) < copies

    assert screen(flags, flags[:0], flags[:0], None, Limits(0.05, -3.0, 0.75)).failed is failed


@pytest.mark.parametrize(("z", "share", "failed"), [(-9.0, 0.7, False), (-2.0, 0.9, False), (-4.0, 0.8, True)])
def test_nearness_fails_where_it_is_both_significant_and_large(z, share, failed):
    flags = np.zeros(40, bool)
    found = screen(flags, flags, flags, Copying(z, share, 40), Limits(0.05, -3.0, 0.75))

    assert found.failed is failed
    assert (found.sentence is not None) is failed
