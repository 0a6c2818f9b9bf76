"""The ledger: every listed file and every candidate in exactly one state with one reason. Its counts must add up."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

from aigc_pipeline.core.errors import PublishError
from aigc_pipeline.core.samples import ROLES
from aigc_pipeline.core.tables import LEDGER, build_table
from aigc_pipeline.data.shards import read_table

_DETAILS = {
    "duplicate": "identical content was listed before",
    "label_conflict": "identical content is listed under another class",
    "leakage": "identical or nearly identical content belongs to another split",
    "size_limits": "too small or too elongated",
    "constant": "all values are nearly equal",
}


def build_ledger(
    ingested: Path,
    cleaned: Path,
    split: Path,
    filtered: pa.Table,
    *,
    num_listed: int,
    published: frozenset[str],
    withheld: str,
) -> pa.Table:
    """Join what ingest, clean, split and filter have put on record.

    Args:
        published: ids of the synthetic rows of this version.
        withheld: why an accepted candidate is not among them.

    Raises:
        PublishError: if a file or a candidate is missing or counted twice.
    """
    parts = [
        _quarantined(read_table(ingested / "ledger.arrow")),
        _refused(read_table(cleaned / "ledger.arrow"), "clean"),
        _refused(read_table(split / "ledger.arrow"), "split"),
        *(_kept(read_table(split / f"{role}.arrow"), role, _class_names(cleaned)) for role in ROLES),
        _candidates(filtered, published, withheld),
    ]
    ledger = pa.concat_tables(parts)
    num_inputs = sum(len(part) for part in parts[:-1])
    if num_inputs != num_listed or len(set(ledger["sample_id"].to_pylist())) != len(ledger):
        msg = (
            f"the ledger has {num_inputs} inputs for {num_listed} listed files and "
            f"{len(set(ledger['sample_id'].to_pylist()))} distinct ids for {len(ledger)} rows. This is a bug; nothing was published."
        )
        raise PublishError(msg)
    return ledger


def _quarantined(table: pa.Table) -> pa.Table:
    table = table.filter(pa.compute.is_valid(table["reason"]))
    return _inputs(table, "quarantined", "ingest", reason=table["reason"], detail=table["detail"])


def _refused(table: pa.Table, stage: str) -> pa.Table:
    reasons = table["reason"].to_pylist() if "reason" in table.column_names else ["leakage"] * len(table)
    extra: dict[str, object] = {"reason": reasons, "detail": [_DETAILS.get(str(reason)) for reason in reasons]}
    if "duplicate_of" in table.column_names:
        extra["duplicate_of"] = table["duplicate_of"]
    return _inputs(table, "rejected", stage, **extra)


def _kept(table: pa.Table, role: str, class_names: Mapping[str, str]) -> pa.Table:
    names = [class_names[sample_id] for sample_id in table["sample_id"].to_pylist()]
    return _inputs(
        table.append_column("class_name", pa.array(names, pa.string())), "kept", None, role=[role] * len(table)
    )


def _inputs(table: pa.Table, state: str, stage: str | None, **extra: object) -> pa.Table:
    n = len(table)
    return build_table(
        LEDGER,
        {
            "sample_id": table["sample_id"],
            "kind": ["input"] * n,
            "origin": ["real"] * n,
            "class_name": table["class_name"],
            "state": [state] * n,
            "stage": pa.array([stage] * n, pa.string()),
            "source_uri": table["uri"],
            "sha256": table["sha256"],
            **extra,
        },
    )


def _candidates(table: pa.Table, published: frozenset[str], withheld: str) -> pa.Table:
    accepted = table["accepted"].to_pylist()
    details = [
        withheld if each and sample_id not in published else None
        for each, sample_id in zip(accepted, table["sample_id"].to_pylist(), strict=True)
    ]
    return build_table(
        LEDGER,
        {
            "sample_id": table["sample_id"],
            "kind": ["candidate"] * len(table),
            "origin": table["origin"],
            "class_name": table["class_name"],
            "state": ["accepted" if each else "rejected" for each in accepted],
            "stage": ["filter"] * len(table),
            "reason": table["reject_reason"],
            "detail": pa.array(details, pa.string()),
        },
    )


def _class_names(cleaned: Path) -> dict[str, str]:
    kept = read_table(cleaned / "kept.arrow")
    return dict(zip(kept["sample_id"].to_pylist(), kept["class_name"].to_pylist(), strict=True))
