"""Write one immutable version: what the verdict allows, with every number and reason beside it."""

import json
import shutil
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.context import Context
from aigc_pipeline.core.records import SCHEMA_VERSION
from aigc_pipeline.core.samples import ROLES, content_sha256
from aigc_pipeline.core.strict import Settings
from aigc_pipeline.core.tables import CANDIDATES
from aigc_pipeline.data.loader import LabelledCells, from_table, load_cells
from aigc_pipeline.data.mixing import chosen_rows
from aigc_pipeline.data.shards import read_shards, read_table
from aigc_pipeline.metrics.command import synthetic_weight
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.publishing.card import card
from aigc_pipeline.publishing.decision import Decision, When, decide
from aigc_pipeline.publishing.ledger import build_ledger
from aigc_pipeline.publishing.lineage import LINEAGE_FILE, environment
from aigc_pipeline.publishing.manifest import (
    CANDIDATES_FILE,
    LEDGER_FILE,
    METADATA_FILE,
    REFERENCES_FILE,
    conform,
    empty_metadata,
    read_rows,
    write_parquet,
)
from aigc_pipeline.publishing.report import ReportContent, write_report
from aigc_pipeline.publishing.rows import real_rows, reference_rows, synthetic_rows
from aigc_pipeline.publishing.versions import claim, find_published, seal, verify
from aigc_pipeline.records import (
    CandidateSet,
    Checkpoint,
    Choice,
    CleanDataset,
    DatasetSplits,
    Embeddings,
    EvalReport,
    FilteredSet,
    Judge,
    Manifest,
    RawDataset,
    SynthesisPlan,
    Verdict,
)

STAGE_VERSION = 8
REPORT_FILE = "report.html"
_NOT_CHOSEN = "good, but not published: the mix, dose or classes that were chosen leave it out"


class PublishConfig(Settings):
    """When synthetic rows are published, and how real rows are."""

    when: When = "unless_harmful"
    """`unless_harmful`: accepted rows, recommended only where they help; none on harm, a failed memorisation screen or
    a failed critic. `helps`: none unless they help. `always`: accepted rows whatever was measured. `never`: no version."""
    real: Literal["as_spec", "reference", "none"] = "as_spec"
    """`as_spec`: real rows leave through the same encoder at the same spec as synthetic ones, so that nothing but content
    tells them apart. `reference`: real rows name the user's own files and lie in `references.parquet`, since a loader of
    the directory expects a file for each row of `metadata.parquet`. `none`: synthetic rows only."""


def publish(
    context: Context,
    config: PublishConfig,
    raw: RawDataset,
    cleaned: CleanDataset,
    splits: DatasetSplits,
    planned: SynthesisPlan,
    embeddings: Embeddings,
    checkpoint: Checkpoint,
    judge: Judge,
    candidates: CandidateSet,
    filtered: FilteredSet,
    report: EvalReport,
) -> Manifest:
    """Build the version aside, verify it, claim its number.

    Raises:
        PublishError: if the ledger does not add up or a written file does not match its hash.
    """
    run = _Run(raw, cleaned, splits, planned, embeddings, checkpoint, judge, candidates, filtered, report)
    decision = decide(config.when, judge, report, filtered)
    if not decision.writes_version:
        return context.record(
            Manifest, **_counts(None), version=None, directory=None, table_sha256=None,
            reason=decision.reason, sentence=decision.sentence,
        )  # fmt: skip
    versions = context.store.workspace / "versions"
    done = find_published(versions, context.fingerprint)
    if done is None:
        built = context.out / "version"
        shutil.rmtree(built, ignore_errors=True)
        built.mkdir()
        _write_tables(context, config, run, decision, built)
        _write_documents(context, run, decision, built)
        facts = {"schema_version": SCHEMA_VERSION, "created": _now(), "sentence": decision.sentence}
        seal(built, {"fingerprint": context.fingerprint, **facts})
        verify(built)
        done = claim(built, versions)
    context.reporter.file("manifest", done / METADATA_FILE)
    context.reporter.file("report", done / REPORT_FILE)
    return context.record(
        Manifest,
        **_counts(read_rows(done)),
        version=done.name,
        directory=done.relative_to(context.store.workspace).as_posix(),
        table_sha256=content_sha256((done / METADATA_FILE).read_bytes()),
        reason=decision.reason,
        sentence=decision.sentence,
    )


@dataclass(frozen=True)
class _Run:
    """The records of the whole run."""

    raw: RawDataset
    cleaned: CleanDataset
    splits: DatasetSplits
    planned: SynthesisPlan
    embeddings: Embeddings
    checkpoint: Checkpoint
    judge: Judge
    candidates: CandidateSet
    filtered: FilteredSet
    report: EvalReport


def _write_tables(context: Context, config: PublishConfig, run: _Run, decision: Decision, built: Path) -> None:
    """Write metadata, candidates and ledger, and the encoded samples."""
    splits, classes = run.splits, run.splits.classes
    table = _filtered(context, run)
    parts = [empty_metadata()]
    stored = {role: read_table(context.files_of(splits) / f"{role}.arrow") for role in ROLES}
    if config.real == "as_spec":
        parts += [real_rows(rows, role, classes, splits.spec, built) for role, rows in stored.items() if len(rows)]
    if config.real == "reference":
        references = [reference_rows(rows, role, classes) for role, rows in stored.items() if len(rows)]
        write_parquet(built / REFERENCES_FILE, pa.concat_tables(references), classes)
    published: frozenset[str] = frozenset()
    if decision.writes_synthetic:
        rows = _taken(table, run.report.choice, classes)
        accepted = table.take(pa.array(rows))
        published = frozenset(accepted["sample_id"].to_pylist())
        cells = _candidate_cells(context, run).take(rows)
        weight = row_weight(
            run.report.verdict, sum(splits.num_samples(role) for role in ROLES if role != "test"), len(rows)
        )
        parts.append(
            synthetic_rows(accepted, cells, splits.spec, built, recommended=decision.recommends, weight=weight)
        )
    write_parquet(built / METADATA_FILE, pa.concat_tables(parts, promote_options="default"), classes)
    write_parquet(built / CANDIDATES_FILE, conform(CANDIDATES, table), classes)
    ingested, cleaned, split = (context.files_of(record) for record in (run.raw, run.cleaned, splits))
    ledger = build_ledger(
        ingested, cleaned, split, table, num_listed=run.raw.num_listed, published=published,
        withheld=_NOT_CHOSEN if decision.writes_synthetic else decision.reason,
    )  # fmt: skip
    write_parquet(built / LEDGER_FILE, ledger, classes)


def row_weight(verdict: Verdict | None, num_real: int, num_synthetic: int) -> float:
    """Return the weight of a synthetic row beside real rows of weight 1, where every row is shown equally often.

    It gives them the share of the loss that the verdict was measured with: whoever trains on the table has no batches of
    which a share is synthetic. 1 where nothing was tested.
    """
    if verdict is None:
        return 1.0
    return synthetic_weight(num_real, num_synthetic, dose=verdict.dose, loss_weight=verdict.loss_weight)


def _write_documents(context: Context, run: _Run, decision: Decision, built: Path) -> None:
    """Write config, lineage, metrics, report and card."""
    (built / "config.yaml").write_text(context.config_yaml, encoding="utf-8")
    lineage = {
        "records": {field.name: getattr(run, field.name).model_dump(mode="json") for field in fields(run)},
        "seed": context.seed,
        "environment": environment(),
    }
    (built / LINEAGE_FILE).write_text(json.dumps(lineage, indent=1))
    measured = {
        type(record).__name__: record.model_dump(mode="json") for record in (run.report, run.judge, run.filtered)
    }
    (built / "metrics.json").write_text(json.dumps(measured | {"reason": decision.reason}, indent=1))
    published = read_rows(built)
    content = _report_content(context, run, decision, published, has_references=(built / REFERENCES_FILE).exists())
    write_report(built / REPORT_FILE, content)
    (built / "README.md").write_text(card(content, published), encoding="utf-8")


def _report_content(
    context: Context, run: _Run, decision: Decision, published: pa.Table, *, has_references: bool
) -> ReportContent:
    splits = run.splits
    modality, spec = modality_of(splits.spec), splits.spec
    cells = _candidate_cells(context, run) if run.candidates.num_samples else None
    train = load_cells(context.files_of(splits) / "train.arrow")
    position = {sample_id: row for row, sample_id in enumerate(train.ids)}
    return ReportContent(
        version=None,
        reason=decision.reason,
        sentence=decision.sentence,
        plan=run.planned,
        judge=run.judge,
        filtered=run.filtered,
        evaluation=run.report,
        candidates=conform(CANDIDATES, _filtered(context, run)),
        candidate_html=lambda rows: modality.html(cells.take(np.array(rows, np.int64)).cells, spec) if cells else [],
        train_html=lambda ids: modality.html(
            train.take(np.array([position[each] for each in ids], np.int64)).cells, spec
        ),
        classes=splits.classes,
        source=run.raw.source,
        samples_seen=run.checkpoint.samples_seen,
        num_proof=run.judge.num_proof,
        arrivals=run.embeddings.arrivals,
        best_samples_seen=run.checkpoint.best_samples_seen,
        training_events=run.checkpoint.events,
        family=run.checkpoint.family,
        created=_now(),
        has_references=has_references,
        **_counts(published),
    )


def _taken(table: pa.Table, choice: Choice | None, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the accepted candidates that the choice takes: those that the verdict was measured with."""
    if choice is None:
        return np.flatnonzero(table["accepted"].to_numpy(zero_copy_only=False))
    return chosen_rows(table, choice.mix, [classes.index(name) for name in choice.classes])


def _filtered(context: Context, run: _Run) -> pa.Table:
    return read_table(context.files_of(run.filtered) / "filtered.arrow")


def _candidate_cells(context: Context, run: _Run) -> LabelledCells:
    return from_table(read_shards(context.files_of(run.candidates), "candidates"))


def _counts(published: pa.Table | None) -> dict[str, int]:
    """Count real, synthetic and recommended synthetic rows."""
    if published is None:
        return {"num_real": 0, "num_synthetic": 0, "num_recommended": 0}
    synthetic = published.filter(pa.compute.not_equal(published["origin"], "real"))
    recommended = sum(synthetic["recommended"].to_pylist())
    return {
        "num_real": len(published) - len(synthetic),
        "num_synthetic": len(synthetic),
        "num_recommended": recommended,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
