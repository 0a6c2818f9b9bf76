"""Write one immutable version: what the verdict allows, with every number and reason beside it."""

import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.records import SCHEMA_VERSION, Record
from aigc_pipeline.core.samples import ROLES, content_sha256
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.core.tables import CANDIDATES, METADATA, build_table
from aigc_pipeline.data.loader import LabelledCells, from_table, load_cells
from aigc_pipeline.data.shards import read_shards, read_table
from aigc_pipeline.features.views import first_view
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.publishing.card import card
from aigc_pipeline.publishing.ledger import build_ledger
from aigc_pipeline.publishing.manifest import (
    CANDIDATES_FILE,
    LEDGER_FILE,
    METADATA_FILE,
    conform,
    empty_metadata,
    write_parquet,
)
from aigc_pipeline.publishing.report import ReportContent, write_report
from aigc_pipeline.publishing.versions import claim, find_published, point_latest, seal, verify
from aigc_pipeline.records import (
    CandidateSet,
    Checkpoint,
    CleanDataset,
    DatasetSplits,
    EvalReport,
    FilteredSet,
    Judge,
    Manifest,
    RawDataset,
    SynthesisPlan,
)

STAGE_VERSION = 1
REPORT_FILE = "report.html"
_PACKAGES = ("torch", "numpy", "pyarrow", "pillow", "scikit-learn", "pandas")


class PublishConfig(Settings):
    """When synthetic rows are published, and how real rows are."""

    when: Literal["unless_harmful", "helps", "always", "never"] = "unless_harmful"
    """`unless_harmful`: accepted rows, recommended only where they help; none on harm, a failed memorisation screen or
    a failed critic. `helps`: none unless they help. `always`: accepted rows whatever was measured. `never`: no version."""
    real: Literal["as_spec", "none"] = "as_spec"
    """`as_spec`: real rows leave through the same encoder at the same spec as synthetic ones, so that nothing but content
    tells them apart. `none`: synthetic rows only."""


def publish(
    context: Context,
    config: PublishConfig,
    raw: RawDataset,
    cleaned: CleanDataset,
    splits: DatasetSplits,
    planned: SynthesisPlan,
    checkpoint: Checkpoint,
    judge: Judge,
    candidates: CandidateSet,
    filtered: FilteredSet,
    report: EvalReport,
) -> Manifest:
    """Build the version aside, verify it, claim its number, move the hint.

    Raises:
        PublishError: if the ledger does not add up or a written file does not match its hash.
    """
    decision = decide(config, judge, report, filtered)
    if not decision.writes_version:
        return _record(context, decision, None, 0, 0)
    versions = context.store.workspace / "versions"
    if (done := find_published(versions, context.fingerprint)) is None:
        built = context.out / "version"
        shutil.rmtree(built, ignore_errors=True)
        built.mkdir()
        writer = _Writer(context, config, splits, candidates, filtered, built, decision)
        writer.tables(raw, cleaned)
        writer.documents((raw, cleaned, splits, planned, checkpoint, judge, candidates, filtered, report))
        seal(
            built,
            {
                "fingerprint": context.fingerprint,
                "schema_version": SCHEMA_VERSION,
                "created": _now(),
                "sentence": decision.sentence,
            },
        )
        verify(built)
        done = claim(built, versions)
    point_latest(versions, done)
    table = read_metadata(done)
    origins = table["origin"].to_pylist()
    num_real = origins.count("real")
    num_recommended = sum(
        bool(flag) for flag, origin in zip(table["recommended"].to_pylist(), origins, strict=True) if origin != "real"
    )
    context.reporter.file("manifest", done / METADATA_FILE)
    context.reporter.file("report", done / REPORT_FILE)
    return _record(context, decision, done, num_real, len(origins) - num_real, num_recommended)


@dataclass(frozen=True)
class Decision:
    """What may be published, and why."""

    writes_version: bool
    writes_synthetic: bool
    recommends: bool
    weight: float
    reason: str
    sentence: str


def decide(config: PublishConfig, judge: Judge, report: EvalReport, filtered: FilteredSet) -> Decision:
    """Turn verdict, memorisation screen and critic health into what is published."""
    verdict = report.verdict
    sentence = verdict.sentence if verdict else "No candidate was accepted, so there was nothing to test."
    weight = verdict.loss_weight if verdict else 1.0
    helps = verdict is not None and verdict.outcome == "helps"
    obstacle = _obstacle(judge, report, filtered)
    if config.when == "never":
        return Decision(False, False, False, weight, "publish.when is 'never'", sentence)
    if config.when == "always":
        reason = "publish.when is 'always'" + (f", although {obstacle}" if obstacle else "")
        return Decision(True, filtered.num_kept > 0, helps and obstacle is None, weight, reason, sentence)
    if obstacle is not None:
        return Decision(True, False, False, weight, f"no synthetic row is published: {obstacle}", sentence)
    if helps:
        return Decision(
            True, True, True, weight, "the synthetic rows are published and recommended: they help", sentence
        )
    if config.when == "helps":
        return Decision(
            True,
            False,
            False,
            weight,
            "no synthetic row is published: publish.when is 'helps', and they were not shown to help",
            sentence,
        )
    return Decision(
        True,
        True,
        False,
        weight,
        "the synthetic rows are published but not recommended: they were not shown to help",
        sentence,
    )


def _obstacle(judge: Judge, report: EvalReport, filtered: FilteredSet) -> str | None:
    if filtered.num_kept == 0:
        return "no candidate passed all gates"
    if report.memorised:
        return "the memorisation screen failed"
    if judge.complaints:
        return f"the critic failed its health checks ({judge.complaints[0]})"
    if report.verdict is not None and report.verdict.outcome == "harms":
        return "they harm the downstream model"
    return None


@dataclass(frozen=True)
class _Writer:
    """One version under construction."""

    context: Context
    config: PublishConfig
    splits: DatasetSplits
    candidates: CandidateSet
    filtered: FilteredSet
    built: Path
    decision: Decision

    def tables(self, raw: RawDataset, cleaned: CleanDataset) -> None:
        """Write metadata, candidates and ledger, and the encoded samples."""
        table = self.filtered_table()
        parts = [empty_metadata()]
        if self.config.real == "as_spec":
            parts += [self._real_rows(role) for role in ROLES if self.splits.num_samples(role)]
        if self.decision.writes_synthetic:
            parts.append(self._synthetic_rows(table))
        write_parquet(
            self.built / METADATA_FILE, pa.concat_tables(parts, promote_options="default"), self.splits.classes
        )
        write_parquet(self.built / CANDIDATES_FILE, conform(CANDIDATES, table), self.splits.classes)
        ledger = build_ledger(
            self.context.files_of(raw),
            self.context.files_of(cleaned),
            self.context.files_of(self.splits),
            table,
            num_listed=raw.num_listed,
        )
        write_parquet(self.built / LEDGER_FILE, ledger, self.splits.classes)

    def filtered_table(self) -> pa.Table:
        """Return every candidate with all its numbers."""
        return read_table(self.context.files_of(self.filtered) / "filtered.arrow")

    def candidate_cells(self) -> LabelledCells:
        """Return the candidates' cells, in the same order."""
        return from_table(read_shards(self.context.files_of(self.candidates), "candidates"))

    def documents(self, records: Sequence[Record]) -> None:
        """Write config, lineage, metrics, card and report."""
        by_type = {type(record).__name__: record for record in records}
        (self.built / "config.yaml").write_text(self.context.config_yaml)
        lineage = {
            "records": {name: record.model_dump(mode="json") for name, record in by_type.items()},
            "seed": self.context.seed,
            "environment": {"python": platform.python_version(), "machine": platform.machine()}
            | {name: installed_version(name) for name in _PACKAGES},
        }
        (self.built / "lineage.json").write_text(json.dumps(lineage, indent=1))
        measured = {name: by_type[name].model_dump(mode="json") for name in ("EvalReport", "Judge", "FilteredSet")}
        (self.built / "metrics.json").write_text(json.dumps(measured | {"reason": self.decision.reason}, indent=1))
        content = self._report_content(records)
        write_report(self.built / REPORT_FILE, content)
        (self.built / "README.md").write_text(card(content, read_metadata(self.built)))

    def _real_rows(self, role: str) -> pa.Table:
        stored = read_table(self.context.files_of(self.splits) / f"{role}.arrow")
        part = from_table(stored)
        files, hashes = self._encode(part)
        n = len(part)
        rows = {
            "file_name": pa.array(files, pa.string()),
            "sample_id": part.ids,
            "label": part.labels,
            "class_name": [self.splits.classes[label] for label in part.labels],
            "origin": ["real"] * n,
            "split": ["test" if role == "test" else "train"] * n,
            "role": [role] * n,
            "recommended": [True] * n,
            "weight": np.ones(n, np.float32),
            "sha256": hashes,
            "source_uri": stored["uri"],
            "source_sha256": stored["sha256"],
        }
        return self._with_modality_columns(build_table(METADATA, rows), part)

    def _synthetic_rows(self, table: pa.Table) -> pa.Table:
        rows = np.flatnonzero(table["accepted"].to_numpy(zero_copy_only=False))
        part, accepted = self.candidate_cells().take(rows), table.take(pa.array(rows))
        files, hashes = self._encode(part)
        n = len(part)
        shared = {c.name: accepted[c.name] for c in METADATA if c.name in accepted.column_names}
        extra = {
            "file_name": pa.array(files, pa.string()),
            "split": ["train"] * n,
            "role": ["train"] * n,
            "recommended": [self.decision.recommends] * n,
            "weight": np.full(n, self.decision.weight, np.float32),
            "sha256": hashes,
        }
        return self._with_modality_columns(build_table(METADATA, shared | extra), part)

    def _encode(self, part: LabelledCells) -> tuple[list[str | None], list[str]]:
        """Write encoded samples; return file names (None for inline samples) and hashes."""
        modality = modality_of(self.splits.spec)
        contents = modality.encode(part.cells, self.splits.spec)
        if contents is None:
            return [None] * len(part), [
                content_sha256(view.tobytes()) for view in first_view(part.cells, self.splits.spec)
            ]
        files: list[str | None] = []
        for sample_id, content in zip(part.ids, contents, strict=True):
            name = f"{modality.folder}/{sample_id[:2]}/{sample_id}{modality.suffix}"
            target = self.built / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            files.append(name)
        return files, [content_sha256(content) for content in contents]

    def _with_modality_columns(self, table: pa.Table, part: LabelledCells) -> pa.Table:
        extra = modality_of(self.splits.spec).columns(part.cells, self.splits.spec)
        for name in extra.column_names:
            table = table.append_column(name, extra[name])
        return table

    def _report_content(self, records: Sequence[Record]) -> ReportContent:
        raw, _, _, planned, checkpoint, judge, _, filtered, report = records
        assert isinstance(raw, RawDataset) and isinstance(planned, SynthesisPlan) and isinstance(checkpoint, Checkpoint)  # noqa: PT018
        assert isinstance(judge, Judge) and isinstance(filtered, FilteredSet) and isinstance(report, EvalReport)  # noqa: PT018
        modality, spec = modality_of(self.splits.spec), self.splits.spec
        cells = self.candidate_cells() if self.candidates.num_samples else None
        train = load_cells(self.context.files_of(self.splits) / "train.arrow")
        position = {sample_id: row for row, sample_id in enumerate(train.ids)}
        return ReportContent(
            version=None,
            reason=self.decision.reason,
            sentence=self.decision.sentence,
            plan=planned,
            judge=judge,
            filtered=filtered,
            evaluation=report,
            candidates=conform(CANDIDATES, self.filtered_table()),
            candidate_html=lambda rows: (
                modality.html(cells.take(np.array(rows, np.int64)).cells, spec) if cells else []
            ),
            train_html=lambda ids: modality.html(
                train.take(np.array([position[each] for each in ids], np.int64)).cells, spec
            ),
            classes=self.splits.classes,
            source=raw.source,
            samples_seen=checkpoint.samples_seen,
            family=checkpoint.family,
            created=_now(),
        )


def read_metadata(version: Path) -> pa.Table:
    """Read a version's main table; the file, never the directory."""
    return pa.parquet.read_table(version / METADATA_FILE)


def _record(
    context: Context,
    decision: Decision,
    version: Path | None,
    num_real: int,
    num_synthetic: int,
    num_recommended: int = 0,
) -> Manifest:
    return context.record(
        Manifest,
        version=version.name if version else None,
        directory=version.relative_to(context.store.workspace).as_posix() if version else None,
        table_sha256=content_sha256((version / METADATA_FILE).read_bytes()) if version else None,
        num_real=num_real,
        num_synthetic=num_synthetic,
        num_recommended=num_recommended,
        reason=decision.reason,
        sentence=decision.sentence,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
