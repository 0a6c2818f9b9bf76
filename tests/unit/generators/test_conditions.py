import numpy as np
import pytest

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.generators.conditions import MIN_SAMPLES, Conditions

NORTH, SOUTH, NONE = {"site": "north"}, {"site": "south"}, {}


def make(told=("class", "site")) -> tuple[Conditions, np.ndarray, list[dict[str, str]]]:
    """Class 0: 30 north, 25 south, 3 west, 2 unknown. Class 1: 40 south."""
    attributes = [NORTH] * 30 + [SOUTH] * 25 + [{"site": "west"}] * 3 + [NONE] * 2 + [SOUTH] * 40
    labels = np.array([0] * 60 + [1] * 40)
    return Conditions.fit(told, labels, attributes, 2), labels, attributes


def rows(conditions: Conditions) -> list[tuple[tuple[int, ...], dict[str, str]]]:
    return [(row.class_counts, row.attributes) for row in conditions.rows]


def test_frequent_combinations_are_told_and_rare_ones_go_by_class_alone():
    conditions, _, _ = make()

    assert rows(conditions) == [((5, 0), {}), ((30, 0), NORTH), ((25, 0), SOUTH), ((0, 40), SOUTH)]
    assert conditions.classes is not None
    assert conditions.classes.tolist() == [0, 0, 0, 1]
    assert conditions.names(["cat", "dog"]) == ("cat", "cat site=north", "cat site=south", "dog site=south")


def test_without_the_class_a_row_stands_for_several():
    conditions, _, _ = make(("site",))

    assert rows(conditions) == [((5, 0), {}), ((30, 0), NORTH), ((25, 40), SOUTH)]
    assert conditions.classes is None


def test_told_nothing_there_is_one_row():
    conditions, labels, attributes = make(())

    assert rows(conditions) == [((60, 40), {})]
    assert set(conditions.of(labels, attributes).tolist()) == {0}


def test_samples_find_their_row_and_unseen_combinations_the_nearest_one():
    conditions, labels, attributes = make()

    assert np.bincount(conditions.of(labels, attributes)).tolist() == [5, 30, 25, 40]
    assert conditions.of(np.array([0, 1, 1]), [{"site": "east"}, NORTH, NONE]).tolist() == [0, 3, 3]


def test_a_class_is_drawn_with_the_mix_of_its_training_samples_or_as_asked():
    conditions, _, _ = make()

    assert np.bincount(conditions.of_class(0), minlength=4).tolist() == [5, 30, 25, 0]
    assert set(conditions.of_class(0, SOUTH).tolist()) == {2}
    assert len(conditions.of_class(1, NORTH)) == 0


def test_just_enough_samples_make_a_row_of_their_own():
    labels = np.zeros(2 * MIN_SAMPLES - 1, np.int64)
    attributes = [NORTH] * MIN_SAMPLES + [SOUTH] * (MIN_SAMPLES - 1)

    assert rows(Conditions.fit(("class", "site"), labels, attributes, 1)) == [
        ((MIN_SAMPLES - 1,), {}),
        ((MIN_SAMPLES,), NORTH),
    ]


@pytest.mark.parametrize(
    ("attributes", "said"), [([NORTH, NORTH], "They have site"), ([NONE, NONE], r"is there a metadata\.csv\?")]
)
def test_an_attribute_that_nobody_has_is_named(attributes, said):
    with pytest.raises(ConfigError, match=rf"names \['colour'\], which no training sample has\. .*{said}"):
        Conditions.fit(("class", "colour"), np.array([0, 1]), attributes, 2)
