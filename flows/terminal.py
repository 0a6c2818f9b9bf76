"""`python -m flows.augment`: the flow with Prefect's temporary local API, looking like `aigc run`.

Prefect reads its settings when it is imported, so this module imports it only after they are set. What is already set
in the environment wins: with PREFECT_API_URL the run is recorded by that server.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from aigc_pipeline.cli import user_errors
from aigc_pipeline.core.store import Store

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from aigc_pipeline.records import Manifest

Preset = Literal["default", "smoke", "demo", "thorough"]


def main() -> None:
    """Parse the command line, run the flow, and exit."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(augment_command)
    app()


def augment_command(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A folder with one sub-folder per class, or 'digits'.")
    ] = "",
    *,
    preset: Annotated[
        Preset, typer.Option(help="How much time to spend; the config file and -o win over it.")
    ] = "default",
    minutes: Annotated[float, typer.Option(min=0, help="Most training time; 0 takes the preset's.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Root of every random act; 0 takes the config's.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the plan.")] = False,
    workspace: Annotated[
        Path, typer.Option("--workspace", "-w", help="Stages, versions and Prefect's own files.")
    ] = Path("workspace"),
    config: Annotated[str, typer.Option("--config", "-c", metavar="FILE", help="YAML file of settings.")] = "",
    override: Annotated[
        list[str] | None, typer.Option("--override", "-o", metavar="KEY=VALUE", help="A dotted setting.")
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error arose.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and the result.")] = False,
) -> None:
    """Run the augmentation flow with a temporary Prefect API: no server, no account."""
    for name, value in prefect_settings(workspace, verbose=traceback).items():
        os.environ.setdefault(name, value)
    parameters = {
        "source": source,
        "preset": preset,
        "minutes": minutes,
        "seed": seed,
        "dry_run": dry_run,
        "workspace": str(workspace),
        "config_file": config,
        "overrides": override or [],
    }
    with user_errors(traceback=traceback):
        Store(workspace)  # says what is wrong with the folder; Prefect's server would only time out
        _run(parameters, workspace, quiet=quiet)


def prefect_settings(workspace: Path, *, verbose: bool) -> Mapping[str, str]:
    """Return the environment of a quiet temporary API whose files lie in the workspace."""
    return {
        "PREFECT_HOME": str((workspace / ".prefect").resolve()),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_LEVEL": "INFO" if verbose else "CRITICAL",  # user_errors() already says what went wrong
    }


def _run(parameters: Mapping[str, object], workspace: Path, *, quiet: bool) -> None:
    from aigc_pipeline.cli.console import ConsoleReporter
    from aigc_pipeline.cli.outcome import print_outcome, print_plan
    from aigc_pipeline.records import SynthesisPlan
    from flows.augment import CONSOLE, augment

    with ConsoleReporter(quiet=quiet) as reporter:
        CONSOLE.set(reporter)
        state = cast("State[Manifest | SynthesisPlan]", augment(**parameters, return_state=True))
        result = state.result()
        if isinstance(result, SynthesisPlan):
            print_plan(reporter.console, result)
        else:
            print_outcome(reporter.console, result, workspace=workspace, computed=reporter.computed)
