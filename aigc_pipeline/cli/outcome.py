"""What a person reads when a run has ended: the verdict, where the files lie, and three commands worth typing next."""

import json
import shlex
import shutil
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from aigc_pipeline.cli.console import duration, harmless
from aigc_pipeline.core.reporting import Reporter, Scalar
from aigc_pipeline.core.store import Store

if TYPE_CHECKING:
    from aigc_pipeline.records import Manifest, SynthesisPlan

TABLE = "metadata.parquet"
REPORT = "report.html"
_NOTHING_NEW = "Nothing new: every input and setting is as before, so the earlier result still stands."


def print_outcome(
    console: Console, manifest: "Manifest", *, workspace: Path, computed: Collection[str] | None = None
) -> None:
    """Print the end of a run. `computed` names the stages that it computed; None where that is not known."""
    console.print()
    print_lines(console, manifest.sentence, bold=True)
    print_lines(console, sentence_of(manifest.reason))
    if computed is not None and "publish" not in computed:
        print_lines(console, _NOTHING_NEW)
    console.print()
    print_lines(console, *path_lines(manifest, workspace))
    print_commands(console, next_commands(manifest, workspace))


def markdown_outcome(manifest: "Manifest", *, workspace: Path, computed: Collection[str]) -> str:
    """Return the end of a run as markdown, for a page that shows it. `computed` names the stages that it computed."""
    lines = [f"**{manifest.sentence}**", "", sentence_of(manifest.reason), ""]
    if "publish" not in computed:
        lines += [_NOTHING_NEW, ""]
    if manifest.directory is not None:
        uri = (workspace / manifest.directory / REPORT).resolve().as_uri()
        lines += [f"Report, on the worker's machine: [{uri}]({uri})", ""]
    files = ["```", *path_lines(manifest, workspace), "```", "", "Worth typing next:", ""]
    commands = [f"# {purpose}\n{command}" for purpose, command in next_commands(manifest, workspace)]
    return "\n".join([*lines, *files, "```sh", *commands, "```"])


def print_lines(console: Console, *lines: str, bold: bool = False) -> None:
    """Print lines as they are: no markup, no wrapping, so that paths can be copied."""
    for line in lines:
        console.print(Text(harmless(line), style="bold" if bold else ""), soft_wrap=True)


def print_plan(console: Console, planned: "SynthesisPlan") -> None:
    """Print what a full run would do, in one sentence."""
    console.print()
    print_lines(console, describe_plan(planned))


def describe_plan(planned: "SynthesisPlan") -> str:
    """Return what a full run would do, in one sentence."""
    want, size = sum(planned.want().values()), planned.num_bytes / 1e6
    cost = f"about {duration(60 * planned.minutes)} of training and {size:,.1f} MB on disk"
    return f"A full run would aim at {want:,} accepted samples: {cost}. No generator was trained."


def report_plan(reporter: Reporter, planned: "SynthesisPlan") -> None:
    """Show the per-class plan again, for a run in which the stage was reused and said nothing."""
    rows: list[Mapping[str, Scalar]] = [
        {"class": each.class_name, "have": each.have, "want": each.want, "method": each.method, "why": each.expectation}
        for each in planned.classes
    ]
    reporter.table("plan", rows)


def print_commands(console: Console, commands: Collection[tuple[str, str]]) -> None:
    """Print what to type next, with what each command is for."""
    console.print()
    console.print(Text("Worth typing next:", style="bold"))
    for purpose, command in commands:
        console.print(Text(f"  # {purpose}", style="dim"))
        print_lines(console, f"  {command}")


def next_commands(manifest: "Manifest", workspace: Path) -> list[tuple[str, str]]:
    """Return (purpose, command) for what one usually wants next."""
    place, aigc = shlex.quote(str(workspace)), program("aigc")
    if manifest.directory is None:
        run, twice = f"{aigc} run SOURCE --workspace {place}", 2 * _samples_trained(workspace)
        longer = [("train the generator twice as long", f"{run} -o train.total_samples={twice}")]
        return [
            ("publish unless it harms", f"{run} -o publish.when=unless_harmful"),
            *(longer if twice else []),
            ("see what a run sees in a source", f"{aigc} inspect SOURCE"),
        ]
    directory = workspace / manifest.directory
    return [
        ("rows per class, verdict, files", f"{aigc} show {place}"),
        ("the rows to train on, as a DataFrame", read_command(directory)),
        ("the report in a browser", open_command(directory / REPORT)),
    ]


def _samples_trained(workspace: Path) -> int:
    """Return how many samples the last plan trains on. More minutes would change nothing where its cap was the limit."""
    from aigc_pipeline.records import SynthesisPlan

    planned = Store(workspace).previous("plan", SynthesisPlan)
    return planned.total_samples if planned is not None else 0


def read_command(version: Path) -> str:
    """Return a shell command that reads a version."""
    return python_command(f"import aigc_pipeline as a; print(a.read_manifest({json.dumps(str(version))}))")


def python_command(code: str) -> str:
    """Return a shell command that runs a line of Python."""
    return f"{program('python')} -c {shlex.quote(code)}"


def open_command(file: Path) -> str:
    """Return a shell command that opens a file in the browser, on any system with Python."""
    return f"{program('python')} -m webbrowser {shlex.quote(file.resolve().as_uri())}"


def program(name: str) -> str:
    """Return how to call a program of this environment: by name where the PATH finds it, else by its path."""
    ours = Path(sys.executable).parent / name
    found = shutil.which(name)
    if found is not None and Path(found) == ours:
        return name
    return shlex.quote(str(ours.relative_to(Path.cwd()) if ours.is_relative_to(Path.cwd()) else ours))


def sentence_of(clause: str) -> str:
    """Return a clause as a sentence: a full stop, and the first letter up where it is not that of a setting."""
    is_setting = "." in clause.split(" ", 1)[0].rstrip(".")
    return (clause if is_setting else f"{clause[:1].upper()}{clause[1:]}").rstrip(".") + "."


def path_lines(manifest: "Manifest", workspace: Path) -> list[str]:
    """Return what was published and where, a line each."""
    if manifest.directory is None:
        return [f"Nothing was published. The stages are kept in {workspace / 'stages'}."]
    directory = workspace / manifest.directory
    return [
        f"Version   {manifest.version}: {_counts(manifest)}",
        f"Manifest  {directory / TABLE}",
        f"Report    {directory / REPORT}",
    ]


def _counts(manifest: "Manifest") -> str:
    synthetic = f"{manifest.num_synthetic:,} synthetic rows"
    return f"{manifest.num_real:,} real and {synthetic}, {manifest.num_recommended:,} of them recommended"
