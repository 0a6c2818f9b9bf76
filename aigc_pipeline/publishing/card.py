"""The README.md of a version: a Hugging Face dataset card that also tells a person what each row may be used for.

It names no license, because the license is that of the user's own data, which nobody told us.
"""

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from aigc_pipeline.publishing.report.content import ReportContent
from aigc_pipeline.publishing.report.summary import (
    choice_words,
    is_starved,
    judged_words,
    mixture_words,
    named,
    training_words,
    unfiltered_words,
    unseen_words,
    worth_of,
)
from aigc_pipeline.publishing.report.wording import arm_words, as_sentence, percent, points, reason_words
from aigc_pipeline.publishing.snippet import REFERENCE_SNIPPET, SNIPPET

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_ORIGINS = ("real", "classic", "generated")
_COLUMNS = """\
| column | meaning |
|---|---|
| `split` | `train` or `test`. Synthetic rows are always `train`. |
| `role` | What the pipeline used a real row for: `train` (generator and encoders), `calibration` (critic), `selection` (choices), `test` (the verdict alone). Synthetic rows are `train`, also those made from `calibration` and `selection` rows: where you validate on such rows, leave out what has one among its `parent_ids`. |
| `origin` | `real`, `classic` (a varied real sample; `parent_ids` names which) or `generated`. |
| `recommended` | Train on this row? True for real rows; for synthetic rows set by the verdict above. |
| `weight` | The weight of the row in the loss, where every row is shown equally often. It gives synthetic rows the share of the loss that the verdict was measured with. |
| `p_real` | Calibrated probability of being real, for generated rows of classes that the critic judges. |
| `train_distance` | Distance to the nearest training sample. |"""
_FILES = """\
- `metadata.parquet`: these rows. Read the file, not the directory.
- `candidates.parquet`: every synthetic candidate with all its numbers and, where it was rejected, why.
- `ledger.parquet`: every input file and every candidate with its one state and one reason.
- `report.html`: the whole story with pictures; open it in a browser."""

_REFERENCES = """
- `references.parquet`: the real rows. `source_uri` is the path of your own file, relative to the source; no copy lies here."""


def card(content: ReportContent, table: pa.Table) -> str:
    """Return the README of a version.

    Args:
        content: what the report shows.
        table: the published rows, with the columns of `core.tables.METADATA`.
    """
    snippet = REFERENCE_SNIPPET if content.has_references else SNIPPET
    files = _FILES + (_REFERENCES if content.has_references else "")
    sections = [
        _header(content, table),
        f"# {_name(content)}",
        f"**{content.sentence}**"
        + (f"\n\n{as_sentence(content.reason)}" if content.reason != content.sentence else ""),
        "## Rows\n\n" + _counts(content, table),
        "## Load it\n\n"
        f"```python\n{snippet}```\n\n"
        'With `datasets`: `load_dataset("imagefolder", data_dir="<this directory>")` gives the rows of `metadata.parquet` with pictures '
        "decoded, all in one split that it calls `train`, test rows too: filter by the columns `split` and `recommended`."
        if _has_files(table)
        else f"## Load it\n\n```python\n{snippet}```",
        f"## What the columns mean\n\n{_COLUMNS}",
        "## How it was made\n\n" + "\n".join(f"- {line}" for line in _story(content)),
        f"## Files\n\n{files}",
    ]
    return "\n\n".join(sections) + "\n"


def _name(content: ReportContent) -> str:
    return f"{content.source} with synthetic samples" + (f", {content.version}" if content.version else "")


def _has_files(table: pa.Table) -> bool:
    return bool(table["file_name"].null_count < len(table))


def _header(content: ReportContent, table: pa.Table) -> str:
    """Return the YAML block. JSON strings are YAML strings, whatever a source is called."""
    size = next((words for limit, words in _SIZES if len(table) < limit), "n>1M")
    lines = [
        f"pretty_name: {json.dumps(_name(content), ensure_ascii=False)}",
        f"size_categories: [{json.dumps(size)}]",
        "tags: [synthetic, augmentation, aigc-pipeline]",
    ]
    if _has_files(table):
        lines.append("task_categories: [image-classification]")
    else:  # without pictures, only this tells `load_dataset(directory)` which of the Parquet files to read
        lines.append("configs: [{config_name: default, data_files: metadata.parquet}]")
    return "\n".join(["---", *lines, "---"])


def _counts(content: ReportContent, table: pa.Table) -> str:
    """Return a table of rows per class and origin, with totals."""
    groups = table.group_by(["class_name", "origin"]).aggregate([([], "count_all")]).to_pylist()
    counts = {(row["class_name"], row["origin"]): row["count_all"] for row in groups}
    origins = [origin for origin in _ORIGINS if any((name, origin) in counts for name in content.classes)]
    lines = [f"| class | {' | '.join(origins)} | all |", "|---" + "|--:" * (len(origins) + 1) + "|"]
    for name in content.classes:
        row = [counts.get((name, origin), 0) for origin in origins]
        lines.append(_row(_as_cell(name), row))
    lines.append(_row("**all**", [sum(counts.get((name, o), 0) for name in content.classes) for o in origins]))
    return "\n".join(lines) + f"\n\n{_recommendation(table)}"


def _as_cell(name: str) -> str:
    """Return a class name, which may hold anything that a folder's name may, as text of a Markdown table."""
    return " ".join(name.splitlines()).replace("|", "\\|").replace("<", "&lt;")


def _row(title: str, numbers: list[int]) -> str:
    return f"| {title} | {' | '.join(f'{n:,}' for n in [*numbers, sum(numbers)])} |"


def _recommendation(table: pa.Table) -> str:
    synthetic = table.filter(pc.not_equal(table["origin"], "real"))
    if not len(synthetic):
        return "There are no synthetic rows."
    recommended = pc.sum(synthetic["recommended"]).as_py() or 0
    return f"{recommended:,} of {len(synthetic):,} synthetic rows are recommended for training."


def _story(content: ReportContent) -> Iterator[str]:
    filtered, evaluation = content.filtered, content.evaluation
    if content.arrivals is not None and content.arrivals.warning is not None:
        yield f"{content.arrivals.warning}."
    yield (
        f"Generator `{content.family}`, {training_words(content)}. "
        "Real and synthetic rows left through the same encoder at the same size."
    )
    if content.training_events:
        yield f"In training: {'; '.join(content.training_events)}."
    reasons = ", ".join(f"{n:,} ({reason_words(reason)})" for reason, n in filtered.rejected.items()) or "none rejected"
    yield f"{filtered.num_in:,} candidates, {filtered.num_kept:,} accepted. Rejected: {reasons}."
    if filtered.num_in:
        yield _filtering(content)
    yield _copies(content)
    if (verdict := evaluation.verdict) is not None:
        yield (
            f"Uplift {points(verdict.uplift.value)} points over {arm_words(verdict.baseline)} on "
            f"{verdict.uplift.n:,} test samples, with {mixture_words(verdict)} (question no. {verdict.test_opening} to this test set, alpha {verdict.alpha:.3g})."
        )
    if (chosen := choice_words(content)) is not None:
        yield chosen
    if (whole := worth_of(content)[0]) is not None:
        yield f"Worth in real samples: {whole.sentence}"
    starved = [f"{group.attribute} {group.group}" for group in evaluation.groups if is_starved(group.warning)]
    if starved:
        yield f"Groups that the filter starves: {named(starved)}. See the report."


def _filtering(content: ReportContent) -> str:
    """Return whether a calibrated critic filtered, how good it is, or why not."""
    reason, judge = unfiltered_words(content), content.judge
    if reason is not None or judge.auc is None or judge.ece is None:
        return f"Not filtered by probability: {reason}."
    excess = "" if judge.excess_ece is None else f", of which {max(judge.excess_ece, 0):.3f} beyond chance,"
    some = f"; {judged}" if (judged := judged_words(content)) else ""
    return f"Filtered by a calibrated critic (AUC {judge.auc:.3f}, ECE {judge.ece:.3f}{excess} on {unseen_words(content)}){some}."


def _copies(content: ReportContent) -> str:
    """Return what the screen for near copies found, and what it does not claim."""
    found = content.evaluation.metrics.get("near_copy_rate/before")
    result = "" if found is None else f" {percent(found.value)} of {found.n:,} generated candidates were near copies."
    failed = " The set as a whole failed the screen." if content.evaluation.memorised else ""
    return (
        "Screened for near copies: a synthetic sample closer to a training sample than unseen real samples are is "
        f"rejected.{result}{failed} Sets that pass such a screen can still reveal who was in the training data."
    )
