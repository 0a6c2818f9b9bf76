"""What `aigc score` says: what it measures with, the files most unlike the training data, and those it could not read."""

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from aigc_pipeline.anomaly import Examiner, FinishedRun, latest_run
from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.cli.outcome import print_lines
from aigc_pipeline.cli.writing import writing
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.reporting import Scalar

_SHOWN = {
    "rank": "rank",
    "file": "file",
    "unlikeness": "unlikeness",
    "unlike_p": "p",
    "class_given": "given",
    "class_predicted": "predicted",
    "knn_distance": "kNN distance",
    "ood_p": "ood p",
    "train_distance": "train distance",
    "near_copy": "copy?",
    "p_real": "p real",
    "real_percentile": "real percentile",
    "known_role": "known as",
}
_ONLY_IF_WIDE = frozenset({"knn_distance", "ood_p", "train_distance", "real_percentile"})
_WIDE_COLUMNS = 120
_ONE_IN = 100
"""Files that are as unlike as at most one in so many unseen reals are counted; as the most unlike where those are fewer."""
_MAX_PROBLEMS = 20
_ENDINGS = (".parquet", ".csv")


def score_folder(folder: Path, workspace: Path, *, top: int, out: Path | None, reporter: ConsoleReporter) -> None:
    """Rank the files below `folder` by how unlike the training data they are; print the first, write all.

    Raises:
        ConfigError: if `out` ends neither in .parquet nor in .csv.
        PipelineError: if there is no published run, no file, or `out` cannot be written.
    """
    if out is not None and out.suffix.lower() not in _ENDINGS:
        msg = f"--out {out}: the ending says the format. Known: {', '.join(_ENDINGS)}."
        raise ConfigError(msg)
    run = latest_run(workspace, reporter=reporter)
    examiner = Examiner.open(run)
    print_lines(reporter.console, _used(run, examiner))
    started = time.monotonic()
    table = examiner.score(folder)
    reporter.stage("score", "finished", time.monotonic() - started)
    _print(table, top, reporter)
    print_lines(reporter.console, "", *summary_lines(table, len(examiner.scale.holdout)))
    if out is not None:
        _write(table, out)
        reporter.file("all rows", out)


def _used(run: FinishedRun, examiner: Examiner) -> str:
    train, holdout = run.splits.num_samples("train"), len(examiner.scale.holdout)
    critic = "its critic" if run.judge.critic_mode != "none" else "no critic"
    if run.judge.complaints:
        critic = f"its critic, which failed its health checks ({run.judge.complaints[0]})"
    return (
        f"Measured with {run.version}: encoder '{run.embeddings.encoder}' against {train:,} training samples, "
        f"on the scale of {holdout:,} unseen reals; {critic}."
    )


def _print(table: pa.Table, top: int, reporter: ConsoleReporter) -> None:
    read = table.filter(pc.is_valid(table["rank"]))
    unread = table.filter(pc.is_valid(table["problem"])).select(["file", "problem"])
    is_wide = reporter.console.width >= _WIDE_COLUMNS
    named = [name for name in _SHOWN if is_wide or name not in _ONLY_IF_WIDE]
    shown = [name for name in named if name in {"rank", "file"} or read[name].null_count < len(read)]
    rows = [{_SHOWN[name]: _rounded(row[name]) for name in shown} for row in read.slice(0, top).to_pylist()]
    reporter.result(f"most unlike the training data, {len(rows):,} of {len(read):,}", rows)
    problems = unread.slice(0, _MAX_PROBLEMS).to_pylist()
    reporter.result(f"could not be read, {len(problems):,} of {len(unread):,}", problems)


def summary_lines(table: pa.Table, num_holdout: int) -> tuple[str, str]:
    """Return how many files are more unlike than chance allows, and how many the run knows.

    Args:
        num_holdout: unseen reals behind `unlike_p`, which is a multiple of 1 / (num_holdout + 1): few cannot reach 0.01.
    """
    read = table.filter(pc.is_valid(table["rank"]))
    limit = max(1, (num_holdout + 1) // _ONE_IN) / (num_holdout + 1)
    num_unlike = pc.sum(pc.less_equal(read["unlike_p"], limit)).as_py() or 0
    copies, known = pc.sum(read["near_copy"]).as_py() or 0, len(read) - read["known_role"].null_count
    return (
        f"{num_unlike:,} of {len(read):,} have p of at most {limit:.2g}; among samples like the training data, "
        f"about {limit * len(read):,.1f} would.",
        f"{copies:,} are near-copies of a training sample; {known:,} have content that the run already knows.",
    )


def _rounded(value: Scalar) -> Scalar:
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _write(table: pa.Table, out: Path) -> None:
    with writing(out):
        if out.suffix.lower() == ".csv":
            pa_csv.write_csv(table, out)
        else:
            pq.write_table(table, out, compression="zstd")
