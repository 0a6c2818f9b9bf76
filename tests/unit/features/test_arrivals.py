"""What a nightly run notices about the samples that came."""

import numpy as np
import pytest

from aigc_pipeline.features.arrivals import UNLIKE, is_notable, unlike
from aigc_pipeline.features.stored import LabelledFeatures

CENTRES = np.array([[0.0, 0.0, 0.0, 0.0], [6.0, 0.0, 0.0, 0.0]], np.float32)


def draw(generator: np.random.Generator, per_class: int, classes: int = 2) -> LabelledFeatures:
    labels = np.repeat(np.arange(classes), per_class)
    return LabelledFeatures(
        (CENTRES[labels] + generator.standard_normal((len(labels), 4))).astype(np.float32), labels.astype(np.int64)
    )


def test_of_samples_like_the_others_one_in_twenty_is_unlike_and_nothing_is_notable():
    shares, alarms = [], 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        known, unseen, arrived = (draw(generator, n) for n in (100, 60, 40))
        found = unlike(arrived, known, unseen)
        shares.append(found.mean())
        alarms += is_notable(int(found.sum()), len(arrived), len(unseen))

    assert np.mean(shares) == pytest.approx(UNLIKE, abs=0.01)
    assert alarms <= 1


@pytest.mark.parametrize("what", ["moved", "labelled as the other class"])
def test_samples_that_differ_from_their_class_are_unlike_and_notable(what):
    generator = np.random.default_rng(0)
    known, unseen, arrived = (draw(generator, n) for n in (100, 60, 10))
    changed = (
        LabelledFeatures(arrived.features + np.float32(4), arrived.labels)
        if what == "moved"
        else LabelledFeatures(arrived.features, 1 - arrived.labels)
    )

    found = unlike(changed, known, unseen)

    assert found.all()
    assert is_notable(len(found), len(found), len(unseen))
    assert not unlike(arrived, known, unseen).all()


def test_a_class_of_few_unseen_samples_is_measured_by_all_and_one_without_known_samples_by_none():
    generator = np.random.default_rng(0)
    known, unseen, arrived = draw(generator, 100, classes=1), draw(generator, 60, classes=1), draw(generator, 20)
    far = LabelledFeatures(arrived.features + np.float32(9), arrived.labels)
    few = LabelledFeatures(np.concatenate([known.features, CENTRES[1:]]), np.append(known.labels, 1))

    assert unlike(far, known, unseen).tolist() == [True] * 20 + [False] * 20
    assert unlike(far, few, unseen).all()


def test_nothing_is_unlike_where_nothing_was_held_back():
    generator = np.random.default_rng(0)
    nothing = LabelledFeatures(np.zeros((0, 0), np.float32), np.zeros(0, np.int64))

    assert not unlike(draw(generator, 5), draw(generator, 100), nothing).any()


@pytest.mark.parametrize(
    ("num_unlike", "num_arrived", "notable"),
    [(2, 2, False), (3, 3, True), (10, 100, False), (20, 100, True), (1, 20, False), (90, 1000, False)],
    ids=["two of two", "three of three", "one in ten", "one in five", "as by chance", "sure, but few"],
)
def test_notable_is_more_than_chance_and_more_than_one_in_ten(num_unlike, num_arrived, notable):
    assert is_notable(num_unlike, num_arrived, 2_000) is notable
