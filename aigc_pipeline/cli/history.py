"""What `aigc history` says: a workspace's versions side by side, oldest first."""

import json
from pathlib import Path

from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.core.reporting import Scalar
from aigc_pipeline.publishing.history import VersionFacts, history_of


def show_history(workspace: Path, *, as_json: bool, reporter: ConsoleReporter) -> None:
    """Print a line per version, or every number as JSON.

    Raises:
        PublishError: if there is no version, or one is damaged.
    """
    versions = history_of(workspace)
    if as_json:
        found = [each.model_dump(mode="json") for each in versions]
        reporter.console.out(json.dumps(found, indent=1), highlight=False)
    else:
        reporter.result(f"versions of {workspace}", [version_row(each) for each in versions])


def version_row(facts: VersionFacts) -> dict[str, Scalar]:
    """Return what fits a terminal of 80 columns."""
    return {
        "version": facts.version,
        "created": facts.created[:10],
        "real": facts.num_real,
        "new": _or_nothing(facts.num_arrived),
        "unlike": _or_nothing(facts.num_unlike),
        "synthetic": facts.num_synthetic,
        "verdict": (facts.outcome or "nothing to test").replace("_", " "),
        "points": "" if facts.uplift is None else f"{100 * facts.uplift:+.1f}",
    }


def _or_nothing(value: Scalar) -> Scalar:
    return "" if value is None else value
