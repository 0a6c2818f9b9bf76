"""`aigc generators` and `aigc new-generator`: which families there are, and the start of one of your own."""

import json
import re
import shlex
from pathlib import Path

from rich.table import Table

from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.cli.outcome import print_commands, program
from aigc_pipeline.cli.template import FILES
from aigc_pipeline.cli.writing import writing
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.generators import BUILT_IN, Family, built_in
from aigc_pipeline.generators.installed import installed, load_family, package_of, shadowed
from aigc_pipeline.modalities import MODALITIES

_NAME = re.compile(r"[a-z](_?[a-z0-9])*")
"""Also part of a distribution's name, which may not end with an underscore."""


def show_families(*, as_json: bool, reporter: ConsoleReporter) -> None:
    """List the families of this package and of installed ones, and what is wrong with those that cannot be used."""
    rows = [describe(family, "aigc_pipeline") for family in built_in()]
    problems = [f"{package_of(entry)} offers '{entry.name}', which is built in: it is not used" for entry in shadowed()]
    for kind, entry in installed().items():
        try:
            rows.append(describe(load_family(kind), package_of(entry)))
        except ValueError as err:
            problems.append(str(err))
    if as_json:
        reporter.console.out(json.dumps({"generators": rows, "problems": problems}, indent=1), highlight=False)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("kind", "choose when", "samples"):
        table.add_column(title, overflow="fold")
    for row in rows:
        package = "" if row["package"] == "aigc_pipeline" else f" ({row['package']})"
        about = f"{row['choose_when']}{package}\n[dim]{_means(row)}. {row['paper']}[/dim]"
        table.add_row(str(row["kind"]), about, str(row["handles"]))
    reporter.console.print(table)
    for problem in problems:
        reporter.note(problem + ".")


def describe(family: type[Family], package: str) -> dict[str, object]:
    """Return what a family says of itself."""
    handled = sorted(MODALITIES if family.handles is None else family.handles)
    return {
        "kind": family.model_fields["kind"].default,
        "choose_when": family.choose_when,
        "handles": ", ".join(handled),
        "origin": family.model_construct().origin,
        "uses_parents": family.uses_parents,
        "has_discriminator": family.d_logit is not Family.d_logit,
        "paper": family.paper,
        "package": package,
    }


def _means(row: dict[str, object]) -> str:
    """Return where samples come from and whether there is a discriminator, in words."""
    start = "Varies real parents" if row["uses_parents"] else "Starts from noise"
    judge = "has a discriminator" if row["has_discriminator"] else "no discriminator"
    return f"{start}; rows are '{row['origin']}'; {judge}"


def write_template(name: str, folder: Path, *, reporter: ConsoleReporter) -> None:
    """Write a small installable package with a family called `name`.

    Raises:
        ConfigError: if the name cannot be one, is taken, or the folder has something of that name.
        WorkspaceError: if it cannot be written.
    """
    if not _NAME.fullmatch(name):
        msg = (
            f"'{name}' cannot name a generator: use lower-case letters, digits and single underscores between them, "
            "a letter first."
        )
        raise ConfigError(msg)
    if name in BUILT_IN or name in installed():
        msg = f"there is a generator '{name}' already. Choose another name; `aigc generators` lists those in use."
        raise ConfigError(msg)
    place = folder / f"aigc-{name.replace('_', '-')}"
    if place.exists():
        msg = f"{place} exists already. Remove it, or choose another name or --into."
        raise ConfigError(msg)
    # The suffix keeps the class apart from what the template imports and defines: `phase`, `decoder`, `synthesis`.
    class_name = "".join(part.capitalize() for part in name.split("_")) + "Generator"
    words = {"NAME": name, "CLASS": class_name, "PACKAGE": f"aigc_{name}"}
    with writing(place, option="--into"):
        for path, text in FILES.items():
            file = place / _filled(path, words)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(_filled(text, words).lstrip("\n"), encoding="utf-8")
    reporter.console.print(f"{place}: a family that works; make it yours.", highlight=False)
    print_commands(reporter.console, next_commands(name, place))


def next_commands(name: str, place: Path) -> list[tuple[str, str]]:
    """Return (purpose, command) for what one does with a new family."""
    python, where = program("python"), shlex.quote(str(place))
    return [
        ("install it beside this package, and what its test needs", f"{python} -m pip install -e {where} pytest"),
        ("does it keep the contract of every family?", f"{python} -m pytest {where}"),
        ("a run with it", f"{program('aigc')} run DIR -o train.generator.kind={name}"),
    ]


def _filled(text: str, words: dict[str, str]) -> str:
    for key, value in words.items():
        text = text.replace(f"@{key}@", value)
    return text
