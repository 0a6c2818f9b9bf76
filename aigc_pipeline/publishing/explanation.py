"""Everything that a published version says about one sample: where it came from, its numbers, and what became of it.

Reads the version directory alone, and repeats what is written there. It judges nothing: what the gates say is joined on
by `cli.explaining`, since publishing and gates don't know each other.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from aigc_pipeline.core.errors import DataError, PublishError
from aigc_pipeline.core.tables import CANDIDATES
from aigc_pipeline.publishing.manifest import CANDIDATES_FILE, LEDGER_FILE, read_rows

MIN_PREFIX = 6
"""Characters of an id that are asked for at least."""
_MAX_NAMED = 5
_LINEAGE = ("generator", "checkpoint_sha256", "seed", "chunk_size", "parent_ids", "transform")
_NO_NUMBERS = frozenset({"sample_id", "label", "class_name", "origin", *_LINEAGE, "accepted", "reject_reason"})
_MEANINGS = {column.name: column.meaning for column in CANDIDATES}

Row = Mapping[str, object]
Facts = dict[str, object]


@dataclass(frozen=True)
class VersionContent:
    """The tables and documents of one version."""

    name: str
    ledger: pa.Table
    candidates: pa.Table
    published: pa.Table
    metrics: Mapping[str, object]
    config: Mapping[str, object]

    @classmethod
    def read(cls, version: Path) -> "VersionContent":
        """Read a version directory.

        Raises:
            PublishError: if one of its files cannot be read.
        """
        try:
            return cls(
                version.name,
                pq.read_table(version / LEDGER_FILE),
                pq.read_table(version / CANDIDATES_FILE),
                read_rows(version),
                json.loads((version / "metrics.json").read_text()),
                yaml.safe_load((version / "config.yaml").read_text(encoding="utf-8")),
            )
        except (OSError, ValueError, pa.ArrowInvalid, yaml.YAMLError) as err:
            msg = f"cannot read version {version}: {err}. It is damaged; publish again, or restore the file."
            raise PublishError(msg) from err


@dataclass(frozen=True)
class Neighbour:
    """The nearest training sample of a candidate."""

    sample_id: str
    source_uri: str | None
    class_name: str | None
    distance: float | None
    copy_threshold: float | None
    """A distance at or under this counts as a copy."""


@dataclass(frozen=True)
class Number:
    """One column of a candidate."""

    name: str
    value: object
    meaning: str


@dataclass(frozen=True)
class Publication:
    """Whether a sample is a row of the version, and why."""

    published: bool
    recommended: bool
    weight: float | None
    file_name: str | None
    why: str


def find_sample(ledger: pa.Table, wanted: str) -> Row:
    """Return the ledger row that an id, a prefix of one, or the path of a source file or of a published picture names.

    Raises:
        DataError: if none or several do; names the nearest.
    """
    ids: list[str] = ledger["sample_id"].to_pylist()
    by_path = [row for row, uri in enumerate(ledger["source_uri"].to_pylist()) if uri == wanted]
    stem = PurePath(wanted).stem  # a published file is named after its sample
    rows = by_path or [row for row, sample_id in enumerate(ids) if sample_id in {wanted, stem}]
    if not rows:
        if len(wanted) < MIN_PREFIX:
            msg = f"'{wanted}' is too short to name a sample. Give at least {MIN_PREFIX} characters of its id."
            raise DataError(msg)
        rows = [row for row, sample_id in enumerate(ids) if sample_id.startswith(wanted.lower())]
    if len(rows) == 1:
        return _row(ledger, rows[0])
    if rows:
        msg = f"'{wanted}' names {len(rows)} samples: {_named(ledger, rows)}. Give more characters of the id."
        raise DataError(msg)
    is_path = "/" in wanted or "." in wanted
    near = _nearest_paths(ledger, wanted) if is_path else _nearest_ids(ids, wanted.lower())
    hint = f" The nearest: {_named(ledger, near, by='source_uri' if is_path else 'sample_id')}." if near else ""
    msg = f"no sample of this version has the id or the source path '{wanted}'.{hint} Both are in ledger.parquet."
    raise DataError(msg)


def candidate_row(content: VersionContent, sample_id: object) -> int:
    """Return the row of a candidate in `candidates`.

    Raises:
        PublishError: if the ledger alone names it.
    """
    row: int = pc.index(content.candidates["sample_id"], sample_id).as_py()
    if row < 0:
        msg = (
            f"the ledger of {content.name} names candidate {sample_id}, which candidates.parquet lacks: it is damaged."
        )
        raise PublishError(msg)
    return row


def lineage(row: Row) -> Facts:
    """Return what made a candidate; what does not apply is left out."""
    return {name: row[name] for name in _LINEAGE if row.get(name) not in (None, [])}


def numbers(row: Row) -> tuple[Number, ...]:
    """Return every measured column of a candidate, with its meaning."""
    return tuple(Number(name, value, _MEANINGS.get(name, "")) for name, value in row.items() if name not in _NO_NUMBERS)


def neighbour(content: VersionContent, row: Row) -> Neighbour | None:
    """Return the nearest training sample; None where no distance was taken."""
    nearest = row.get("nearest_train_id")
    if nearest is None:
        return None
    place = pc.index(content.ledger["sample_id"], nearest).as_py()
    source = _row(content.ledger, place) if place >= 0 else {}
    return Neighbour(
        str(nearest),
        _text(source.get("source_uri")),
        _text(source.get("class_name")),
        _float(row.get("train_distance")),
        _float(row.get("copy_threshold")),
    )


def publication(content: VersionContent, ledger_row: Row) -> Publication:
    """Say whether a sample is a row of the version and whether the verdict recommends it."""
    place = pc.index(content.published["sample_id"], ledger_row["sample_id"]).as_py()
    if place < 0:
        return Publication(False, False, None, None, _why_not_published(content, ledger_row))
    row = _row(content.published, place)
    why = str(content.metrics["reason"]) if row["origin"] != "real" else f"a real sample of role '{row['role']}'"
    return Publication(True, bool(row["recommended"]), _float(row["weight"]), _text(row["file_name"]), why)


def input_relations(content: VersionContent, sample_id: object) -> Facts:
    """Return what else points at a real sample: duplicates, candidates that lie nearest to it, variations of it."""
    ledger, candidates = content.ledger, content.candidates
    duplicates = ledger.filter(pc.equal(ledger["duplicate_of"], sample_id))
    near = candidates.filter(pc.equal(candidates["nearest_train_id"], sample_id))
    copies = pc.sum(pc.less_equal(near["train_distance"], near["copy_threshold"])).as_py() or 0
    varied = sum(sample_id in (parents or ()) for parents in candidates["parent_ids"].to_pylist())
    return {
        "stands_for": duplicates["sample_id"].to_pylist(),
        "nearest_training_sample_of_candidates": len(near),
        "of_which_copies": copies,
        "varied_into_candidates": varied,
    }


def _why_not_published(content: VersionContent, ledger_row: Row) -> str:
    if ledger_row["kind"] == "candidate" and ledger_row["reason"] is not None:
        return f"refused by {ledger_row['reason']}"
    if ledger_row["state"] not in ("accepted", "kept"):
        return f"{ledger_row['state']} by {ledger_row['stage']}: {ledger_row['reason']}"
    if ledger_row["kind"] == "input":
        return "real rows are not part of this version (publish.real)"
    if not pc.any(pc.not_equal(content.published["origin"], "real")).as_py():
        return str(content.metrics["reason"])
    report = content.metrics["EvalReport"]
    choice = report.get("choice") if isinstance(report, dict) else None
    if choice and ledger_row["class_name"] not in choice["classes"]:
        return f"selection left class '{ledger_row['class_name']}' out: its recall fell, or the chosen mix '{choice['mix']}' has none of it"
    mix = f" '{choice['mix']}'" if choice else ""
    return f"the chosen mix{mix} of generated and varied samples has no place for it"


def _named(ledger: pa.Table, rows: list[int], *, by: str = "sample_id") -> str:
    named = [f"{row[by]} ({row['state']} {row['kind']})" for row in (_row(ledger, i) for i in rows[:_MAX_NAMED])]
    return ", ".join(named) + (", ..." if len(rows) > _MAX_NAMED else "")


def _nearest_ids(ids: Sequence[str], wanted: str) -> list[int]:
    """Return the rows whose ids share the most characters with `wanted` from the left, if any."""
    nearest = sorted(range(len(ids)), key=lambda row: (-_common(ids[row], wanted), ids[row]))
    return [row for row in nearest[:_MAX_NAMED] if _common(ids[row], wanted) > 0]


def _nearest_paths(ledger: pa.Table, wanted: str) -> list[int]:
    """Return the rows whose source file has the name that `wanted` ends with, else a name much like it."""
    names = [PurePath(uri or "").name for uri in ledger["source_uri"].to_pylist()]
    alike = get_close_matches(PurePath(wanted).name, sorted(set(names)), n=_MAX_NAMED)
    rank = {name: place for place, name in enumerate(alike)}
    rows = [row for row, name in enumerate(names) if name in rank]
    return sorted(rows, key=lambda row: rank[names[row]])[:_MAX_NAMED]


def _common(one: str, other: str) -> int:
    """Return how many characters two ids share from the left."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _row(table: pa.Table, place: int) -> Row:
    row: Row = table.slice(place, 1).to_pylist()[0]
    return row


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
