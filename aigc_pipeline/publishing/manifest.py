"""Tables on their way into a version and out of it again."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from aigc_pipeline.core.errors import PublishError
from aigc_pipeline.core.tables import METADATA, Column, build_table, schema_of
from aigc_pipeline.publishing.versions import resolve

METADATA_FILE, CANDIDATES_FILE, LEDGER_FILE = "metadata.parquet", "candidates.parquet", "ledger.parquet"
REFERENCES_FILE = "references.parquet"
_ROW_GROUP = 4_096


def write_parquet(file: Path, table: pa.Table, classes: Sequence[str]) -> None:
    """Write a table so that pandas, DuckDB and `datasets` agree on it; `label` becomes a ClassLabel."""
    open_schema = pa.schema(
        [field.with_nullable(True) for field in table.schema]
    )  # `datasets` ignores the rest's types
    metadata = {b"huggingface": json.dumps({"info": {"features": _features(table.schema, classes)}}).encode()}
    pq.write_table(
        table.cast(open_schema).replace_schema_metadata(metadata),
        file,
        row_group_size=_ROW_GROUP,
        compression="zstd",
        write_page_checksum=True,
    )


def conform(columns: Iterable[Column], table: pa.Table) -> pa.Table:
    """Take the schema's columns out of a wider table, in order.

    Raises:
        DataError: if one that may not be null is missing or holds nulls.
    """
    columns = tuple(columns)
    present = set(table.column_names)
    return build_table(columns, {c.name: table[c.name] for c in columns if c.name in present})


def empty_metadata() -> pa.Table:
    """Return a metadata table without rows."""
    return schema_of(METADATA).empty_table()


def read_manifest(path: Path, *, recommended_only: bool = True) -> pd.DataFrame:
    """Read `metadata.parquet` of a version (of a workspace: the latest).

    Args:
        path: a workspace, a version directory, or its `metadata.parquet`.
        recommended_only: leave out synthetic rows that the verdict does not recommend.

    Raises:
        PublishError: if there is no version, or its table cannot be read.
    """
    version = resolve(path)
    try:
        frame: pd.DataFrame = read_rows(version).to_pandas()
    except (OSError, pa.ArrowInvalid) as err:
        msg = f"cannot read the tables of {version}: {err}. Restore them, or publish again."
        raise PublishError(msg) from err
    return frame[frame["recommended"]].reset_index(drop=True) if recommended_only else frame


def read_rows(version: Path) -> pa.Table:
    """Return all rows of a version, those that only reference the user's own files included."""
    files = [version / REFERENCES_FILE, version / METADATA_FILE]
    tables = [pq.read_table(file, page_checksum_verification=True) for file in files if file.exists()]
    return pa.concat_tables(tables, promote_options="default")


_HF_DTYPES: Mapping[pa.DataType, str] = {
    pa.string(): "string",
    pa.int64(): "int64",
    pa.int32(): "int32",
    pa.float32(): "float32",
    pa.float64(): "float64",
    pa.bool_(): "bool",
}


def _features(schema: pa.Schema, classes: Sequence[str]) -> dict[str, object]:
    """Return Hugging Face feature types; a wrong one makes `datasets` silently hand out raw values."""
    features: dict[str, object] = {}
    for field in schema:
        if field.name == "label":
            features[field.name] = {"names": list(classes), "_type": "ClassLabel"}
        elif pa.types.is_list(field.type):
            inner = {"dtype": _HF_DTYPES[field.type.value_type], "_type": "Value"}
            features[field.name] = {"feature": inner, "_type": "List"}
        else:
            features[field.name] = {"dtype": _HF_DTYPES[field.type], "_type": "Value"}
    return features
