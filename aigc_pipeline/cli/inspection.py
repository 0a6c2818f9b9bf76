"""What a run would see in a source, without training anything: listing, classes, shapes, refused samples."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.config import PipelineConfig
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.reporting import Scalar
from aigc_pipeline.core.store import Store
from aigc_pipeline.data.shards import read_shards, read_table
from aigc_pipeline.pipeline import StageCaller
from aigc_pipeline.records import CleanDataset, RawDataset
from aigc_pipeline.stages.clean import clean
from aigc_pipeline.stages.ingest import ingest, list_source

_MAX_EXAMPLES = 20
_MAX_VALUES = 8
_NO_FACTS = {"sample_id", "uri", "sha256", "class_name", "given_role", "attributes", "content"}


def inspect_source(config: PipelineConfig, *, workspace: Path, reporter: ConsoleReporter) -> None:
    """Take the source in and clean it as a run would, and report what was found.

    Raises:
        PipelineError: if the source cannot be used at all.
    """
    context = Context(Store(workspace), config.seed, config.runtime, reporter)
    run = StageCaller.of(config, context, None)
    raw = run(ingest, config.ingest, list_source(config.ingest))
    samples = read_shards(context.files_of(raw), "raw")
    unreadable = read_table(context.files_of(raw) / "ledger.arrow")
    reporter.result("what the samples look like", _facts(samples))
    _report_refused(reporter, "quarantined, cannot be read", unreadable)
    cleaned = run(clean, config.clean, raw)
    refused = read_table(context.files_of(cleaned) / "ledger.arrow")
    _report_refused(reporter, "refused by cleaning", refused)
    reporter.result("classes", _classes(unreadable, refused, cleaned))
    _report_prospects(reporter, raw, cleaned)


def _classes(listed: pa.Table, refused: pa.Table, cleaned: CleanDataset) -> list[dict[str, Scalar]]:
    num_listed = Counter(listed["class_name"].to_pylist())
    num_quarantined = Counter(listed.filter(pc.is_valid(listed["reason"]))["class_name"].to_pylist())
    num_refused = Counter(refused["class_name"].to_pylist())
    return [
        {
            "class": name,
            "listed": num_listed[name],
            "quarantined": num_quarantined[name],
            "refused": num_refused[name],
            "kept": num_listed[name] - num_quarantined[name] - num_refused[name],
            "usable": name in cleaned.classes,
        }
        for name in sorted(num_listed)
    ]


def _facts(samples: pa.Table) -> list[dict[str, Scalar]]:
    """Return one row per fact: a range where it is a number, counts where it is a word."""
    names = [name for name in samples.column_names if name not in _NO_FACTS]
    return [{"fact": name, "values": _summary(samples[name])} for name in names]


def _summary(column: pa.ChunkedArray) -> str:
    counts = Counter(column.to_pylist()).most_common()
    if len(counts) > 1 and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        values = np.sort(column.to_numpy())
        return f"{values[0]:g} to {values[-1]:g}, median {values[len(values) // 2]:g}"
    words = [f"{value} ({count:,})" for value, count in counts[:_MAX_VALUES]]
    return ", ".join(words) + (", ..." if len(counts) > _MAX_VALUES else "")


def _report_refused(reporter: ConsoleReporter, title: str, ledger: pa.Table) -> None:
    bad = ledger.filter(pc.is_valid(ledger["reason"]))
    details = bad["detail"].to_pylist() if "detail" in bad.column_names else [None] * len(bad)
    uris, reasons = bad["uri"].to_pylist(), bad["reason"].to_pylist()
    rows = [
        {"file": uri, "reason": reason, "detail": detail}
        for uri, reason, detail in zip(uris, reasons, details, strict=True)
    ]
    shown = f", the first {_MAX_EXAMPLES} of {len(rows):,}" if len(rows) > _MAX_EXAMPLES else ""
    reporter.result(f"{title}{shown}", rows[:_MAX_EXAMPLES])


def _report_prospects(reporter: ConsoleReporter, raw: RawDataset, cleaned: CleanDataset) -> None:
    alike = cleaned.num_kept - cleaned.num_clusters
    reporter.result(
        "totals",
        [
            {
                "listed": raw.num_listed,
                "quarantined": sum(raw.quarantined.values()),
                "refused": sum(cleaned.rejected.values()),
                "kept": cleaned.num_kept,
                "of which near duplicates": alike,
                "megabytes": round(raw.num_bytes / 1e6, 1),
            }
        ],
    )
