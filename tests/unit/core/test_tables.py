import pyarrow as pa
import pytest

from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.tables import CANDIDATES, LEDGER, METADATA, Column, build_table, schema_of

COLUMNS = (Column("a", pa.int64(), "must"), Column("b", pa.string(), "may", nullable=True))


def test_a_missing_nullable_column_becomes_null():
    assert build_table(COLUMNS, {"a": [1, 2]}).to_pylist() == [{"a": 1, "b": None}, {"a": 2, "b": None}]


@pytest.mark.parametrize("values", [{"b": ["x"]}, {"a": [None], "b": ["x"]}, {"a": [1], "c": [2]}])
def test_a_broken_table_is_refused(values):
    with pytest.raises(DataError):
        build_table(COLUMNS, values)


@pytest.mark.parametrize("columns", [CANDIDATES, METADATA, LEDGER])
def test_every_column_has_a_meaning_and_a_unique_name(columns):
    names = [column.name for column in columns]

    assert len(set(names)) == len(names)
    assert all(column.meaning.endswith(".") for column in columns)
    assert schema_of(columns).names == names


def test_the_bare_word_score_is_never_a_column():
    assert "score" not in {column.name for column in (*CANDIDATES, *METADATA, *LEDGER)}
