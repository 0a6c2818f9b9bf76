"""What `aigc show` says about a published version: verdict, rows per class, files, what to type next."""

import json
from pathlib import Path

import pandas as pd

from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.cli.outcome import (
    REPORT,
    TABLE,
    open_command,
    print_commands,
    print_lines,
    python_command,
    read_command,
    sentence_of,
)
from aigc_pipeline.core.errors import PublishError
from aigc_pipeline.core.reporting import Scalar
from aigc_pipeline.publishing.manifest import read_manifest
from aigc_pipeline.publishing.versions import VERSION_FILE, resolve


def show_version(place: Path, *, reporter: ConsoleReporter) -> None:
    """Describe the version at `place`, or the latest one of a workspace.

    Raises:
        PublishError: if there is no version there, or one of its files cannot be read.
    """
    version = resolve(place)
    facts, metrics = _read(version / VERSION_FILE), _read(version / "metrics.json")
    rows = read_manifest(version, recommended_only=False)
    print_lines(reporter.console, str(facts["sentence"]), bold=True)
    print_lines(reporter.console, sentence_of(str(metrics["reason"])), "")
    reporter.result(f"rows of {version.name}", rows_per_class(rows))
    print_lines(
        reporter.console,
        "",
        f"Created   {facts['created']}",
        f"Manifest  {version / TABLE}",
        f"Report    {version / REPORT}",
    )
    commands = [
        ("the rows to train on, as a DataFrame", read_command(version)),
        ("the report in a browser", open_command(version / REPORT)),
        ("every candidate, with the gate that refused it", _reasons_command(version)),
    ]
    print_commands(reporter.console, commands)


def rows_per_class(rows: pd.DataFrame) -> list[dict[str, Scalar]]:
    """Return per class: real rows for training and test, synthetic rows, and how many of these are recommended."""
    real = rows["origin"] == "real"
    marks = pd.DataFrame(
        {
            "class": rows["class_name"],
            "real train": real & (rows["split"] == "train"),
            "real test": real & (rows["split"] == "test"),
            "synthetic": ~real,
            "recommended": ~real & rows["recommended"],
        }
    )
    counts = marks.groupby("class", sort=True).sum().reset_index()
    return [dict(zip(counts.columns, row, strict=True)) for row in counts.itertuples(index=False, name=None)]


def _reasons_command(version: Path) -> str:
    file = json.dumps(str(version / "candidates.parquet"))
    return python_command(f"import pandas as p; print(p.read_parquet({file}).reject_reason.value_counts(dropna=False))")


def _read(file: Path) -> dict[str, object]:
    try:
        content: dict[str, object] = json.loads(file.read_text())
    except (OSError, ValueError) as err:
        msg = f"cannot read {file}: {err}. The version is damaged; publish again, or restore the file."
        raise PublishError(msg) from err
    return content
