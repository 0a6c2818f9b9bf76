"""The digits source: counts of the long tail, the balanced test split, exact pixels."""

from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from aigc_pipeline.core.samples import RawSample
from aigc_pipeline.sources.digits import _CLASS_SIZES, Digits


@pytest.fixture(scope="module")
def samples() -> list[RawSample]:
    return list(Digits().records())


def test_class_sizes_are_those_of_scikit_learn() -> None:
    assert tuple(np.bincount(load_digits().target)) == _CLASS_SIZES


def test_test_split_is_balanced(samples: list[RawSample]) -> None:
    counts = Counter(sample.class_name for sample in samples if sample.given_role == "test")

    assert counts == {str(digit): 54 for digit in range(10)}


def test_pool_thins_out_from_digit_0_to_digit_9(samples: list[RawSample]) -> None:
    counts = Counter(sample.class_name for sample in samples if sample.given_role is None)

    assert [counts[str(digit)] for digit in range(10)] == [124, 107, 92, 78, 67, 57, 48, 41, 35, 30]


def test_whole_pool_is_kept_without_a_long_tail() -> None:
    source = Digits(long_tail=False)

    assert sum(source.num_pool(digit) for digit in range(10)) == 1_257
    assert source.listing().num_listed == 1_797


def test_listing_counts_what_records_yield(samples: list[RawSample]) -> None:
    assert Digits().listing().num_listed == len(samples) == len({sample.uri for sample in samples})


def test_content_holds_the_pixels_of_scikit_learn(samples: list[RawSample]) -> None:
    sample = samples[-1]
    row = int(sample.uri.removesuffix(".png").rsplit("/", 1)[1])
    assert sample.content is not None

    pixels = np.asarray(Image.open(BytesIO(sample.content)))

    assert np.array_equal(pixels, np.rint(load_digits().images[row] * 255 / 16))
    assert load_digits().target[row] == int(sample.class_name)


def test_equal_settings_give_equal_samples(samples: list[RawSample]) -> None:
    assert list(Digits().records()) == samples


def test_another_seed_tests_on_other_pictures(samples: list[RawSample]) -> None:
    def tested(records: list[RawSample]) -> set[str]:
        return {sample.uri for sample in records if sample.given_role == "test"}

    assert tested(list(Digits(seed=1).records())) != tested(samples)


def test_every_class_keeps_something_for_the_pool() -> None:
    with pytest.raises(ValueError, match="less than or equal to 173"):
        Digits(test_per_class=174)
