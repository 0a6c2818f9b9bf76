"""The `aigc` command: parsing, a console, nothing else. Heavy libraries load inside the commands, so `--help` is quick."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aigc_pipeline import __version__
from aigc_pipeline.core.errors import PipelineError

if TYPE_CHECKING:
    from aigc_pipeline.cli.console import ConsoleReporter
    from aigc_pipeline.config import PipelineConfig

__all__ = ["GLOBAL_FLAGS", "app", "main", "user_errors"]

Preset = Literal[
    "default", "smoke", "demo", "thorough"
]  # config.Preset, repeated: config is heavy. A test compares them.
GLOBAL_FLAGS = ("--traceback", "--quiet", "-q")
_INTERRUPTED = 130  # what shells report for SIGINT

app = typer.Typer(
    name="aigc",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Augment a labelled dataset with synthetic samples, measure whether they help, and publish what does.",
)

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="SOURCE", help="A folder with one sub-folder per class, or the word 'digits'.", show_default=False
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="YAML file of settings.", show_default=False)
]
Workspace = Annotated[
    Path, typer.Option("--workspace", "-w", metavar="FOLDER", help="Where stages and versions are kept.")
]
Place = Annotated[
    Path,
    typer.Option("--place", "-w", metavar="PLACE", help="A workspace (its latest version) or a version directory."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--override",
        "-o",
        metavar="KEY=VALUE",
        help="A dotted setting: train.max_minutes=60. Repeatable; wins over the file.",
    ),
]
PresetName = Annotated[
    Preset, typer.Option("--preset", help="How much time to spend; the config file and -o win over it.")
]
Size = Annotated[int | None, typer.Option("--size", help="Side of a sample (split.size).", show_default=False)]
Seed = Annotated[int | None, typer.Option("--seed", help="Root of every random act.", show_default=False)]
DEFAULT_WORKSPACE = Path("workspace")


@dataclass(frozen=True)
class _Globals:
    traceback: bool = False
    quiet: bool = False


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"aigc {__version__}")
        raise typer.Exit


@app.callback()
def _set_globals(
    context: typer.Context,
    *,
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error arose.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and the result.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    context.obj = _Globals(traceback, quiet)


@app.command()
def run(
    context: typer.Context,
    source: Source = None,
    *,
    config: ConfigFile = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    override: Overrides = None,
    preset: PresetName = "default",
    size: Size = None,
    seed: Seed = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the plan.")] = False,
) -> None:
    """Run or resume everything: from SOURCE to a published version. The same command again goes on where it stopped."""
    with _reporting(context) as reporter:
        settings = _load(source, config, preset, overrides=override or (), size=size, seed=seed)
        (_plan if dry_run else _augment)(settings, workspace, reporter)


@app.command()
def plan(
    context: typer.Context,
    source: Source = None,
    *,
    config: ConfigFile = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    override: Overrides = None,
    preset: PresetName = "default",
    size: Size = None,
    seed: Seed = None,
) -> None:
    """Show what would be synthesized per class and what it would cost: `run --dry-run`."""
    with _reporting(context) as reporter:
        settings = _load(source, config, preset, overrides=override or (), size=size, seed=seed)
        _plan(settings, workspace, reporter)


@app.command()
def inspect(
    context: typer.Context,
    source: Source = None,
    *,
    config: ConfigFile = None,
    workspace: Annotated[
        Path | None,
        typer.Option(
            "--workspace", "-w", metavar="FOLDER", help="Keep what was read here.", show_default="a temporary folder"
        ),
    ] = None,
    override: Overrides = None,
) -> None:
    """Show what a run would see in SOURCE: classes, sizes, unreadable files, duplicates. Nothing is trained."""
    with _reporting(context) as reporter, tempfile.TemporaryDirectory(prefix="aigc-inspect-") as temporary:
        from aigc_pipeline.cli.inspection import inspect_source

        settings = _load(source, config, "default", overrides=override or ())
        inspect_source(settings, workspace=workspace or Path(temporary), reporter=reporter)


@app.command()
def show(
    context: typer.Context,
    place: Annotated[
        Path, typer.Argument(metavar="PLACE", help="A workspace (its latest version) or a version directory.")
    ] = DEFAULT_WORKSPACE,
) -> None:
    """Show a published version: verdict, rows per class, files."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.showing import show_version

        show_version(place, reporter=reporter)


@app.command()
def history(
    context: typer.Context,
    workspace: Annotated[Path, typer.Argument(metavar="WORKSPACE", help="Where the versions are.")] = DEFAULT_WORKSPACE,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Show all versions of a workspace side by side: what came, what was unlike, verdicts, which generator."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.history import show_history

        show_history(workspace, as_json=as_json, reporter=reporter)


@app.command()
def prune(
    context: typer.Context,
    workspace: Annotated[
        Path, typer.Argument(metavar="WORKSPACE", help="Whose disk space to free.")
    ] = DEFAULT_WORKSPACE,
    *,
    keep_versions: Annotated[
        int | None,
        typer.Option(
            "--keep-versions",
            metavar="N",
            min=1,
            help="Of the versions, keep the newest N and the latest.",
            show_default="all",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it; without this, only show it.")] = False,
) -> None:
    """Show, or remove, what neither the versions nor the next run need: results of earlier runs, old versions."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.pruning import prune_workspace

        prune_workspace(workspace, keep_versions=keep_versions, remove=yes, reporter=reporter)


@app.command()
def explain(
    context: typer.Context,
    sample: Annotated[
        str,
        typer.Argument(
            metavar="SAMPLE",
            help="A sample id, its first 6 characters or more, or the path of a source file or a published picture.",
        ),
    ],
    *,
    place: Place = DEFAULT_WORKSPACE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what decided about one sample: every number, gate, neighbour and limit, from the published version alone."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.explaining import explain_sample

        explain_sample(sample, place, as_json=as_json, reporter=reporter)


@app.command()
def rebuild(
    context: typer.Context,
    samples: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SAMPLE",
            help="Sample ids, or their beginnings.",
            show_default="all published synthetic samples",
        ),
    ] = None,
    *,
    place: Place = DEFAULT_WORKSPACE,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FOLDER", help="Keep what was made here.", show_default=False)
    ] = None,
) -> None:
    """Make published synthetic samples again from their rows, and check them against what was published."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.rebuilding import rebuild_samples

        rebuild_samples(place, samples or (), out, reporter=reporter)


@app.command()
def score(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Pictures, flat or in one sub-folder per class.", show_default=False)
    ],
    *,
    workspace: Workspace = DEFAULT_WORKSPACE,
    top: Annotated[int, typer.Option("--top", min=1, help="How many to print, the most unlike first.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write all rows to a .parquet or .csv file.", show_default=False),
    ] = None,
) -> None:
    """Rank your own pictures by how unlike the training data they are, with the latest published run's judge."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.scoring import score_folder

        score_folder(folder, workspace, top=top, out=out, reporter=reporter)


@app.command()
def generators(
    context: typer.Context, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the generator families, built in and installed, with when to choose which."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.families import show_families

        show_families(as_json=as_json, reporter=reporter)


@app.command()
def new_generator(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its kind: lower-case letters, digits, underscores.")],
    *,
    into: Annotated[Path, typer.Option("--into", metavar="FOLDER", help="Where the package is written.")] = Path(),
) -> None:
    """Write a package with a working generator family of your own, found by its entry point once it is installed."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.families import write_template

        write_template(name, into, reporter=reporter)


CheckpointPlace = Annotated[
    Path,
    typer.Argument(
        metavar="CHECKPOINT", help="A workspace (its newest training), a version, or a train stage's folder."
    ),
]


@app.command()
def synthesize(
    context: typer.Context,
    checkpoint: CheckpointPlace,
    *,
    wanted: Annotated[
        list[str] | None, typer.Option("--class", metavar="NAME=NUMBER", help="How many of a class. Repeatable.")
    ] = None,
    attributes: Annotated[
        list[str] | None,
        typer.Option("--with", metavar="NAME=VALUE", help="An attribute that the generator was told. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where samples and their table go.")] = Path(
        "samples"
    ),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Root of every sample's seed.")] = 0,
    truncation: Annotated[
        float, typer.Option("--truncation", help="Multiply latents: below 1, fewer outliers and less diversity.")
    ] = 1.0,
    precision: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option("--precision", help="Of the network's passes.")
    ] = "float32",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the network first; for many samples.")] = False,
) -> None:
    """Make samples from a checkpoint alone: no dataset, no judge, no verdict. What a run publishes went through those."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.generating import synthesize_classes

        synthesize_classes(
            checkpoint, wanted or (), attributes or (), out, seed=seed, truncation=truncation, precision=precision,
            is_compiled=compiled, reporter=reporter,
        )  # fmt: skip


@app.command()
def interpolate(
    context: typer.Context,
    checkpoint: CheckpointPlace,
    *,
    class_name: Annotated[str, typer.Option("--class", metavar="NAME", help="The class to start in.")],
    to_class: Annotated[str | None, typer.Option("--to", metavar="NAME", help="The class to end in.")] = None,
    steps: Annotated[int, typer.Option("--steps", min=2, max=64)] = 8,
    rows: Annotated[int, typer.Option("--rows", min=1, max=64)] = 4,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="A PNG.")] = Path("interpolation.png"),
) -> None:
    """Draw what lies between samples: paths from latent to latent, and from class to class."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.generating import draw_interpolation

        draw_interpolation(checkpoint, class_name, to_class, out, steps=steps, rows=rows, seed=seed, reporter=reporter)


@app.command()
def export(
    context: typer.Context,
    checkpoint: CheckpointPlace,
    *,
    form: Annotated[
        Literal["torch_export", "onnx"], typer.Option("--to", help="ONNX needs the extra `export`.")
    ] = "torch_export",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where it goes.", show_default="generator.pt2 or generator.onnx"),
    ] = None,
) -> None:
    """Write the generator as a file that runs without this package, and check it against the checkpoint."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.generating import export_generator

        export_generator(checkpoint, form, out, reporter=reporter)


@app.command()
def compress(
    context: typer.Context,
    checkpoint: CheckpointPlace,
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the variants go.")] = Path("variants"),
) -> None:
    """Write smaller variants (float16, int8, pruned) and measure what each costs in quality and speed."""
    with _reporting(context) as reporter:
        from aigc_pipeline.cli.generating import compress_generator

        compress_generator(checkpoint, out, reporter=reporter)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line. Global flags count wherever they stand: people append `--traceback` to what just failed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    flags = [each for each in given if each in GLOBAL_FLAGS]
    app([*flags, *(each for each in given if each not in GLOBAL_FLAGS)], prog_name="aigc")


@contextmanager
def user_errors(*, traceback: bool) -> Iterator[None]:
    """Turn what a user can mend into a message on standard error and exit code 1, an interrupt into 130.

    Anything else is a bug and keeps its traceback.
    """
    try:
        yield
    except PipelineError as err:
        if traceback:
            raise
        from aigc_pipeline.cli.console import harmless

        typer.secho(harmless(f"{type(err).__name__}: {err}"), err=True, fg="red")
        raise typer.Exit(1) from err
    except KeyboardInterrupt as err:
        typer.secho("\ninterrupted; run the same command again to resume", err=True, fg="yellow")
        raise typer.Exit(_INTERRUPTED) from err


@contextmanager
def _reporting(context: typer.Context) -> Iterator["ConsoleReporter"]:
    from aigc_pipeline.cli.console import ConsoleReporter

    flags: _Globals = context.obj or _Globals()
    with user_errors(traceback=flags.traceback), ConsoleReporter(quiet=flags.quiet) as reporter:
        yield reporter


def _load(
    source: str | None,
    config: Path | None,
    preset: Preset,
    *,
    overrides: Sequence[str],
    size: int | None = None,
    seed: int | None = None,
) -> "PipelineConfig":
    from aigc_pipeline.config import load_config

    named = {"split.size": size, "seed": seed}
    own = [f"{path}={value}" for path, value in named.items() if value is not None]
    return load_config(file=config, source=source, preset=preset, overrides=[*own, *overrides])


def _augment(settings: "PipelineConfig", workspace: Path, reporter: "ConsoleReporter") -> None:
    from aigc_pipeline.cli.outcome import print_outcome
    from aigc_pipeline.core.context import Context
    from aigc_pipeline.core.store import Store
    from aigc_pipeline.pipeline import run_pipeline

    context = Context(Store(workspace), settings.seed, settings.runtime, reporter)
    manifest = run_pipeline(settings, context=context)
    print_outcome(reporter.console, manifest, workspace=workspace, computed=reporter.computed)


def _plan(settings: "PipelineConfig", workspace: Path, reporter: "ConsoleReporter") -> None:
    from aigc_pipeline.cli.outcome import print_plan, report_plan
    from aigc_pipeline.core.context import Context
    from aigc_pipeline.core.store import Store
    from aigc_pipeline.pipeline import plan_pipeline

    context = Context(Store(workspace), settings.seed, settings.runtime, reporter)
    planned = plan_pipeline(settings, context=context)
    if "plan" not in reporter.computed:
        report_plan(reporter, planned)
    print_plan(reporter.console, planned)
