"""What `aigc prune` says: what of a workspace may go, or went."""

from pathlib import Path
from shlex import quote

from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.cli.outcome import print_commands, print_lines, program
from aigc_pipeline.core.reporting import Scalar
from aigc_pipeline.publishing.pruning import Surplus, prune


def prune_workspace(workspace: Path, *, keep_versions: int | None, remove: bool, reporter: ConsoleReporter) -> None:
    """Print what may go, and remove it where asked to.

    Raises:
        WorkspaceError: if there is no workspace, a run is working on it, or a folder cannot be removed.
        PublishError: if a version that stays cannot be read.
    """
    found = prune(workspace, keep_versions=keep_versions, remove=remove)
    if not found:
        print_lines(reporter.console, f"Nothing in {workspace} may go: its versions and the next run need all of it.")
        return
    reporter.result("removed" if remove else "what may go", _rows(found))
    if not remove:
        kept = "" if keep_versions is None else f" --keep-versions {keep_versions}"
        print_commands(
            reporter.console, [("remove it, for good", f"{program('aigc')} prune {quote(str(workspace))}{kept} --yes")]
        )


def _rows(found: list[Surplus]) -> list[dict[str, Scalar]]:
    """Return folders and megabytes by kind, and in all."""
    kinds = {each.what: [other for other in found if other.what == each.what] for each in found}
    return [
        {"what": what, "folders": len(each), "MB": round(sum(one.num_bytes for one in each) / 1e6, 1)}
        for what, each in (*kinds.items(), ("together", found))
    ]
