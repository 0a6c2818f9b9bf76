"""Take every listed sample by content hash. Unreadable ones get a ledger row with a reason instead of failing the run."""

import hashlib
import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
from pydantic import Field

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import SourceError
from aigc_pipeline.core.samples import RawSample, content_sha256, refused_id, sample_id_of
from aigc_pipeline.core.strict import Settings, digest_of
from aigc_pipeline.data.shards import shard_file, write_table
from aigc_pipeline.modalities import MODALITIES, Facts, Modality, Reject
from aigc_pipeline.records import RawDataset, SourceListing
from aigc_pipeline.sources import AnySource

STAGE_VERSION = 5
_SHARD_ROWS = 4_096
_SHARD_BYTES = 32 * 2**20  # a shard is in memory about five times while it is written


class IngestConfig(Settings):
    """Where samples come from."""

    source: AnySource
    max_quarantined_share: float = Field(default=0.5, ge=0, le=1)
    """More unreadable samples than this end the run: a broken mount, not a few bad files."""
    max_lost_share: float = Field(default=0.5, ge=0, le=1)
    """Fewer samples than the last run of this workspace listed at the same source, by more than this share, end the run: a
    mount or a copy that is not complete. 1 lets any number go."""


def list_source(config: IngestConfig) -> SourceListing:
    """Look at the source without reading contents; its digest decides whether anything has changed since last time."""
    listing = config.source.listing()
    return SourceListing(
        fingerprint=digest_of([listing.digest, config.source.digest()]),
        path="",
        created_by=f"list_source@{STAGE_VERSION}",
        modality=config.source.modality,
        num_listed=listing.num_listed,
        uri=listing.uri,
    )


def ingest(context: Context, config: IngestConfig, listing: SourceListing) -> RawDataset:
    """Read, hash and fully decode every listed sample once.

    The record's fingerprint is that of what was read: a source that was only copied, moved or touched is no new dataset,
    and asks the test role no new question.

    Writes `raw-*.arrow` (readable samples with their content, facts and attributes as JSON, null where none) and `ledger.arrow` (one row per listed sample).

    Raises:
        SourceError: if more than `max_lost_share` is gone since last time, or more than `max_quarantined_share` could not
            be read.
    """
    before = _last_time(context, config, listing)
    _refuse_loss(config, listing, before)
    modality = MODALITIES[listing.modality]
    ledger: list[dict[str, object]] = []
    quarantined: Counter[str] = Counter()
    num_bytes, content = 0, hashlib.sha256()
    classes: set[str] = set()
    for index, chunk in enumerate(_chunks(config.source.records(), _SHARD_ROWS, _SHARD_BYTES)):
        rows = [_examine(sample, modality) for sample in chunk]
        good = [row for row in rows if row["reason"] is None]
        if good:
            write_table(shard_file(context.out, "raw", index), _raw_table(good))
        for row in rows:
            if row["reason"] is not None:
                quarantined[str(row["reason"])] += 1
            else:
                num_bytes += len(row["content"])  # type: ignore[arg-type]
                classes.add(str(row["class_name"]))
            ledger.append({key: row[key] for key in _LEDGER.names})
            content.update(repr([row[key] for key in (*_LEDGER.names, "given_role", "attributes")]).encode())
        context.reporter.progress("ingest", len(ledger), listing.num_listed)
    write_table(context.out / "ledger.arrow", pa.Table.from_pylist(ledger, schema=_LEDGER))
    _refuse_ruin(config, listing, quarantined, ledger)
    if quarantined:
        context.reporter.note(_quarantine_note(quarantined, ledger, classes))
    if before is not None and (gone := sorted(set(before.classes) - {str(row["class_name"]) for row in ledger})):
        context.reporter.note(
            f"of {', '.join(map(repr, gone))}, which the last run had, nothing is listed any more. `label` numbers the "
            "classes by name: those behind get new numbers."
        )
    for names in _look_alike(classes):
        context.reporter.note(
            f"the classes {' and '.join(map(repr, names))} differ in case or in how accents are written alone. They are "
            "taken as different classes: rename the folders if they are not."
        )
    return context.record(
        RawDataset,
        fingerprint=digest_of([STAGE_VERSION, listing.modality, content.hexdigest()]),
        modality=listing.modality,
        source=listing.uri,
        source_settings=config.source.digest(),
        classes=tuple(sorted(classes)),
        num_listed=len(ledger),
        num_samples=len(ledger) - quarantined.total(),
        num_bytes=num_bytes,
        quarantined=dict(quarantined),
    )


_LEDGER = pa.schema(
    [
        ("sample_id", pa.string()),
        ("uri", pa.string()),
        ("sha256", pa.string()),
        ("class_name", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)


def _examine(sample: RawSample, modality: Modality) -> dict[str, object]:  # type: ignore[type-arg] # any spec
    row: dict[str, object] = {
        "uri": sample.uri,
        "class_name": sample.class_name,
        "given_role": sample.given_role,
        "attributes": _json(sample.attributes),
        "reason": None,
        "detail": None,
    }
    if sample.content is None:
        return row | {
            "sample_id": refused_id(sample.uri, ""),
            "sha256": None,
            "reason": "unreadable",
            "detail": sample.problem,
        }
    sha256 = content_sha256(sample.content)
    found: Facts | Reject = modality.inspect(sample.content)
    if isinstance(found, Reject):
        return row | {
            "sample_id": refused_id(sample.uri, sha256),
            "sha256": sha256,
            "reason": found.code,
            "detail": found.message,
        }
    facts = dict(found)
    return row | {"sample_id": sample_id_of(sha256), "sha256": sha256, "content": sample.content, "facts": facts}


def _json(attributes: Mapping[str, str]) -> str | None:
    return json.dumps(dict(attributes), ensure_ascii=False, sort_keys=True) if attributes else None


def _raw_table(rows: list[dict[str, object]]) -> pa.Table:
    columns = {
        name: pa.array([row[name] for row in rows], pa.string())
        for name in ("sample_id", "uri", "sha256", "class_name", "given_role", "attributes")
    }
    facts = pa.Table.from_pylist([row["facts"] for row in rows])
    content = pa.array([row["content"] for row in rows], pa.large_binary())
    return pa.table({**columns, **{name: facts[name] for name in facts.column_names}, "content": content})


def _chunks(samples: Iterable[RawSample], max_rows: int, max_bytes: int) -> Iterator[list[RawSample]]:
    """Cut samples into lists of at most `max_rows` that end with the sample that reaches `max_bytes`."""
    chunk: list[RawSample] = []
    num_bytes = 0
    for sample in samples:
        chunk.append(sample)
        num_bytes += len(sample.content or b"")
        if len(chunk) == max_rows or num_bytes >= max_bytes:
            yield chunk
            chunk, num_bytes = [], 0
    if chunk:
        yield chunk


def _quarantine_note(quarantined: Counter[str], ledger: list[dict[str, object]], classes: set[str]) -> str:
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in quarantined.most_common())
    note = f"{quarantined.total():,} of {len(ledger):,} samples cannot be read and are left out ({reasons})"
    lost = sorted({str(row["class_name"]) for row in ledger} - classes)
    return note + (f"; nothing is left of {', '.join(map(repr, lost))}." if lost else ".")


def _look_alike(classes: Iterable[str]) -> list[list[str]]:
    """Return the groups of class names that a person would take for the same."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(classes):
        groups[unicodedata.normalize("NFKC", name).casefold()].append(name)
    return [names for names in groups.values() if len(names) > 1]


def _last_time(context: Context, config: IngestConfig, listing: SourceListing) -> RawDataset | None:
    """Return what this workspace took last, if it was the same source under the same settings."""
    before = context.previous(RawDataset)
    same = before is not None and (before.source, before.source_settings) == (listing.uri, config.source.digest())
    return before if same else None


def _refuse_loss(config: IngestConfig, listing: SourceListing, before: RawDataset | None) -> None:
    if before is None or listing.num_listed >= (1 - config.max_lost_share) * before.num_listed:
        return
    msg = (
        f"{listing.uri} lists {listing.num_listed:,} samples; the last run of this workspace listed {before.num_listed:,}. A "
        "mount or a copy that is not complete looks like this. Complete the source; or, if the samples were removed on "
        f"purpose, run once with `-o ingest.max_lost_share=1` (now {config.max_lost_share})."
    )
    raise SourceError(msg)


def _refuse_ruin(
    config: IngestConfig, listing: SourceListing, quarantined: Counter[str], ledger: list[dict[str, object]]
) -> None:
    bad = quarantined.total()
    if bad and (bad == len(ledger) or bad > config.max_quarantined_share * len(ledger)):
        example = next(row for row in ledger if row["reason"] is not None)
        msg = (
            f"{bad} of {len(ledger)} samples of {listing.uri} cannot be used ({dict(quarantined)}), for example "
            f"{example['uri']}: {example['detail']}. Correct the source, or raise ingest.max_quarantined_share "
            f"(now {config.max_quarantined_share})."
        )
        raise SourceError(msg)
