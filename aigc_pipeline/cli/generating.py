"""`aigc synthesize`, `interpolate`, `export` and `compress`: a finished generator at work, from its checkpoint alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.cli.outcome import print_lines
from aigc_pipeline.cli.writing import writing
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.store import write_atomically
from aigc_pipeline.features.archives import READS_EXPORTS
from aigc_pipeline.generators.weights import compile_networks
from aigc_pipeline.inference.compression import compress
from aigc_pipeline.inference.exporting import Format, export
from aigc_pipeline.inference.interpolation import interpolate
from aigc_pipeline.inference.opening import open_generator
from aigc_pipeline.inference.synthesis import synthesize

_SUFFIXES: Mapping[Format, str] = {"torch_export": ".pt2", "onnx": ".onnx"}
_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def synthesize_classes(
    place: Path,
    wanted: Sequence[str],
    attributes: Sequence[str],
    out: Path,
    *,
    seed: int,
    truncation: float,
    precision: str,
    is_compiled: bool,
    reporter: ConsoleReporter,
) -> None:
    """Write the wanted samples and say where."""
    opened = open_generator(place, _device(), truncation)
    if is_compiled:
        compile_networks(opened.networks)
    counts, told = parse_counts(wanted), parse_attributes(attributes)
    with writing(out):
        table = synthesize(
            opened, counts, out, seed=seed, precision=_PRECISIONS[precision], reporter=reporter, attributes=told
        )
    total = sum(counts.values())
    print_lines(reporter.console, f"{total:,} samples of {opened.family.kind}: {table}")


def parse_counts(wanted: Sequence[str]) -> dict[str, int]:
    """Return class names and numbers from `name=number`.

    Raises:
        ConfigError: naming what is no such pair, or nothing at all.
    """
    if not wanted:
        msg = "say which classes and how many: --class NAME=NUMBER, once per class"
        raise ConfigError(msg)
    counts: dict[str, int] = {}
    for each in wanted:
        name, separator, number = each.rpartition("=")
        if not separator or not number.isdecimal():
            msg = f"'{each}' is not NAME=NUMBER: write --class cat=200"
            raise ConfigError(msg)
        counts[name] = counts.get(name, 0) + int(number)
    return counts


def parse_attributes(wanted: Sequence[str]) -> dict[str, str]:
    """Return names and values from `name=value`.

    Raises:
        ConfigError: naming what is no such pair.
    """
    attributes: dict[str, str] = {}
    for each in wanted:
        name, separator, value = each.partition("=")
        if not (name and separator and value):
            msg = f"'{each}' is not NAME=VALUE: write --with site=north"
            raise ConfigError(msg)
        attributes[name] = value
    return attributes


def draw_interpolation(
    place: Path, class_name: str, to_class: str | None, out: Path, *, steps: int, rows: int, seed: int, reporter: ConsoleReporter
) -> None:  # fmt: skip
    """Write the grid and say where."""
    picture = interpolate(open_generator(place, _device()), class_name, to_class, steps=steps, rows=rows, seed=seed)
    with writing(out):
        write_atomically(out, picture)
    print_lines(reporter.console, str(out))


def export_generator(place: Path, form: Format, out: Path | None, *, reporter: ConsoleReporter) -> None:
    """Write the export, checked, and say how far it is from the checkpoint. None names it after its format."""
    out = out or Path("generator").with_suffix(_SUFFIXES[form])
    opened = open_generator(place, torch.device("cpu"))
    with writing(out):
        difference = export(opened, form, out)
    latents = opened.latent_family("exported").num_latents(opened.spec)
    about = f"(z [n, {latents}], labels [n]) to samples; largest difference {difference:.2g}"
    print_lines(reporter.console, f"{out}: {about}")
    if form == "torch_export" and not READS_EXPORTS:
        reporter.note(
            f"torch {torch.__version__} keeps the weights of {out} as a pickle, which `weights_file` will refuse: to read it back "
            "as a generator here, upgrade torch to 2.9 or newer and export again. torch.export.load opens it."
        )


def compress_generator(place: Path, out: Path, *, reporter: ConsoleReporter) -> None:
    """Write the variants and show what each costs."""
    opened = open_generator(place, _device())
    with writing(out):
        rows = compress(opened, out)
    reporter.result(
        "variants",
        [
            {
                name: round(value, 5) if isinstance(value, float) else value
                for name, value in row.items()
                if name != "sha256"
            }
            for row in rows
        ],
    )
    print_lines(reporter.console, str(out))


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
