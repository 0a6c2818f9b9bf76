"""Cleaning gates on inspection facts: the edge of every threshold belongs to the kept side."""

import pyarrow as pa
import pytest

from aigc_pipeline.core.errors import DataError
from aigc_pipeline.gates.constant import Constant
from aigc_pipeline.gates.size_limits import SizeLimits


def sizes(*pairs: tuple[int, int]) -> pa.Table:
    return pa.table({"width": [width for width, _ in pairs], "height": [height for _, height in pairs]})


def test_size_limits_keep_a_short_side_at_exactly_the_minimum() -> None:
    assert SizeLimits().judge(sizes((8, 8), (7, 8), (20, 7))).tolist() == [True, False, False]


def test_size_limits_keep_an_aspect_at_exactly_the_maximum_both_ways() -> None:
    mask = SizeLimits().judge(sizes((40, 10), (41, 10), (10, 40), (10, 41)))

    assert mask.tolist() == [True, False, True, False]


def test_size_limits_follow_their_settings() -> None:
    gate = SizeLimits(min_side_px=1, max_aspect=100)

    assert gate.judge(sizes((1, 1), (1, 100), (1, 101))).tolist() == [True, True, False]


def test_constant_keeps_a_deviation_at_exactly_the_minimum() -> None:
    assert Constant().judge(pa.table({"luma_std": [0.0, 1.99, 2.0, 60.0]})).tolist() == [False, False, True, True]


@pytest.mark.parametrize(("gate", "column"), [(SizeLimits(), "height"), (Constant(), "luma_std")])
def test_missing_column_is_named(gate: SizeLimits | Constant, column: str) -> None:
    with pytest.raises(DataError, match=column):
        gate.judge(pa.table({"width": [9]}))


def test_empty_table_gives_an_empty_mask() -> None:
    empty = pa.table({"width": pa.array([], pa.int64()), "height": pa.array([], pa.int64())})

    assert SizeLimits().judge(empty).tolist() == []


@pytest.mark.parametrize("gate", [SizeLimits, Constant])
def test_fact_gates_handle_pictures_alone(gate: type[SizeLimits | Constant]) -> None:
    assert gate.can_handle("image")
    assert not gate.can_handle("vector")
