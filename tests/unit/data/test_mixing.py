import pyarrow as pa
import pytest

from aigc_pipeline.data.mixing import mixed_rows, mixes


def accepted(generated: dict[int, int], varied: dict[int, int], want: int) -> pa.Table:
    """Accepted rows: generated ones first, then varied ones; the plan wants `want` of each class."""
    rows = [(k, "generated") for k, n in generated.items() for _ in range(n)]
    rows += [(k, "classic") for k, n in varied.items() for _ in range(n)]
    return pa.table(
        {
            "label": pa.array([k for k, _ in rows], pa.int64()),
            "origin": pa.array([origin for _, origin in rows], pa.string()),
            "class_want": pa.array([want] * len(rows), pa.int64()),
        }
    )


TABLE = accepted({0: 6, 1: 2}, {0: 6, 1: 6, 2: 6}, want=6)  # class 2 was too small to generate


def counts(rows) -> dict[tuple[int, str], int]:
    taken = TABLE.take(rows)
    pairs = list(zip(taken["label"].to_pylist(), taken["origin"].to_pylist(), strict=True))
    return {pair: pairs.count(pair) for pair in pairs}


@pytest.mark.parametrize(
    ("mix", "expected"),
    [
        ("generated", {(0, "generated"): 6, (1, "generated"): 2, (2, "classic"): 6}),
        ("classic", {(0, "classic"): 6, (1, "classic"): 6, (2, "classic"): 6}),
        (
            "both",
            {(0, "generated"): 3, (0, "classic"): 3, (1, "generated"): 2, (1, "classic"): 4, (2, "classic"): 6},
        ),
    ],
)
def test_kinds_of_rows_share_one_budget_per_class(mix, expected):
    assert counts(mixed_rows(TABLE, mix)) == expected


def test_what_one_kind_cannot_fill_the_other_does():
    table = accepted({0: 9}, {0: 1}, want=6)

    assert len(mixed_rows(table, "both")) == 6
    assert mixed_rows(table, "both").tolist() == [0, 1, 2, 3, 4, 9]


def test_varied_rows_are_never_replaced_by_generated_ones():
    table = accepted({0: 4, 1: 2}, {0: 4}, want=2)  # every varied row of class 1 was refused

    assert mixed_rows(table, "classic").tolist() == [6, 7]


def test_only_the_named_classes_are_taken():
    assert set(TABLE.take(mixed_rows(TABLE, "both", [1, 2]))["label"].to_pylist()) == {1, 2}


def test_a_table_offers_the_mixes_that_it_can_fill():
    assert mixes(TABLE) == ("generated", "classic", "both")
    assert mixes(accepted({}, {0: 3}, 3)) == ("classic",)
    assert mixes(accepted({0: 3}, {2: 3}, 3)) == ("generated",)
