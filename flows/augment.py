"""The augmentation flow: `pipeline.run_pipeline` with Prefect as the runner. Its parameters are few and flat; depth lives in YAML."""

if __name__ == "__main__":  # first of all: a terminal's settings must stand before Prefect is imported
    from flows.terminal import main

    main()

from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from pydantic import Field

from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.cli.history import version_row
from aigc_pipeline.cli.outcome import describe_plan, markdown_outcome, report_plan
from aigc_pipeline.cli.showing import rows_per_class
from aigc_pipeline.config import PipelineConfig, Preset, load_config
from aigc_pipeline.core.context import Context
from aigc_pipeline.core.errors import PipelineError, PublishError
from aigc_pipeline.core.reporting import LogReporter, Tee
from aigc_pipeline.core.store import Store
from aigc_pipeline.pipeline import plan_pipeline, run_pipeline
from aigc_pipeline.publishing.history import history_of
from aigc_pipeline.publishing.manifest import read_manifest
from flows.logs import library_logs, without_traceback_of_user_errors
from flows.reporting import PrefectReporter
from flows.tasks import PrefectRunner

_VERSIONS_SHOWN = 14
CONSOLE: ContextVar[ConsoleReporter | None] = ContextVar("CONSOLE", default=None)
"""The terminal that started this run, if one did: it gets progress bars, and library logs stay out of it."""


def _run_name() -> str:
    given = runtime.flow_run.parameters
    return f"{Path(given['source'] or given['config_file']).stem or 'augment'}-{given['preset']}"


@flow(name="augment", flow_run_name=_run_name, persist_result=False)
def augment(
    source: str = "",
    preset: Preset = "default",
    minutes: Annotated[float, Field(ge=0)] = 0.0,
    seed: Annotated[int, Field(ge=0)] = 0,
    dry_run: bool = False,
    workspace: Annotated[str, Field(min_length=1)] = "workspace",
    config_file: str = "",
    overrides: list[str] = [],  # noqa: B006 - Prefect copies parameters; None would make the form a two-way toggle
) -> State[Any]:
    """Augment a labelled dataset: train a generator, keep what a calibrated judge accepts, measure whether it helps.

    Running it again with the same parameters resumes; stages that are already there end as `Reused`.

    Args:
        source: A folder with one sub-folder per class, or `digits`. Empty takes the one of the config file.
        preset: How much time to spend: `smoke` proves that it runs, `demo` takes minutes, `thorough` hours.
            The config file and overrides win over it.
        minutes: Most time that the generator's training may take. 0 takes the one of the preset or the config file.
        seed: Root of every random act. 0 takes the one of the config file.
        dry_run: Stop after the plan: what would be synthesized per class, and what it would cost.
        workspace: Folder of stages and published versions, on the worker's machine.
        config_file: YAML file of settings, on the worker's machine. Empty means none.
        overrides: Dotted settings such as `publish.when=helps`; they win over everything else.
    """
    console, artifacts = CONSOLE.get(), PrefectReporter()
    without_traceback_of_user_errors()
    try:
        settings = load_config(
            file=Path(config_file) if config_file else None,
            source=source or None,
            preset=preset,
            overrides=[*_named(minutes, seed), *overrides],
        )
        reporter = Tee(*([console] if console else []), LogReporter(), artifacts)
        context = Context(Store(Path(workspace)), settings.seed, settings.runtime, reporter)
        with library_logs(to_console=console is None):
            return _plan(settings, context) if dry_run else _run(settings, context, artifacts)
    except PipelineError as err:
        return Failed(message=f"{type(err).__name__}: {err}", data=err)


def _named(minutes: float, seed: int) -> list[str]:
    return [f"{path}={value}" for path, value in (("train.max_minutes", minutes), ("seed", seed)) if value]


def _plan(settings: PipelineConfig, context: Context) -> State[Any]:
    planned = plan_pipeline(settings, context=context, call=PrefectRunner())
    report_plan(context.reporter, planned)
    return Completed(message=describe_plan(planned), data=planned)


def _run(settings: PipelineConfig, context: Context, artifacts: PrefectReporter) -> State[Any]:
    manifest = run_pipeline(settings, context=context, call=PrefectRunner())
    workspace = context.store.workspace.resolve()
    artifacts.markdown("verdict", markdown_outcome(manifest, workspace=workspace, computed=artifacts.computed))
    if manifest.directory is not None:  # at the end of every run: one that reused all stages shows it, too
        artifacts.table("rows", rows_per_class(read_manifest(workspace / manifest.directory, recommended_only=False)))
        _show_versions(context, artifacts)
    if artifacts.num_refused:
        context.reporter.note(
            f"The Prefect API refused {artifacts.num_refused:,} artifacts: this run's page is incomplete, its workspace is not."
        )
    return Completed(message=manifest.sentence, data=manifest)


def _show_versions(context: Context, artifacts: PrefectReporter) -> None:
    """Show the last versions side by side; a damaged old one ends no run."""
    try:
        versions = history_of(context.store.workspace, newest=_VERSIONS_SHOWN)
    except PublishError as err:
        context.reporter.note(f"The versions are not shown side by side: {err}")
    else:
        artifacts.table("versions", [version_row(each) for each in versions])
