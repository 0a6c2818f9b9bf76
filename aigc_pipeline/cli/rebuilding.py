"""`aigc rebuild`: published synthetic samples made again, and whether they are what was published."""

from collections.abc import Sequence
from pathlib import Path

from aigc_pipeline.cli.console import ConsoleReporter
from aigc_pipeline.cli.outcome import print_lines
from aigc_pipeline.cli.writing import writing
from aigc_pipeline.core.errors import PublishError
from aigc_pipeline.inference.rebuilding import Rebuilt, rebuild

_MAX_NAMED = 5


def rebuild_samples(place: Path, samples: Sequence[str], out: Path | None, *, reporter: ConsoleReporter) -> None:
    """Rebuild, and print how many are the same.

    Raises:
        PublishError: if a sample differs by more than rounding.
    """
    if out is None:
        result = rebuild(place, samples, None, reporter=reporter)
    else:
        with writing(out):
            result = rebuild(place, samples, out, reporter=reporter)
    reporter.result(f"synthetic samples of {result.version}", [result.row()])
    changes = _changes(result)
    if changes:
        print_lines(reporter.console, f"Made with {changes}.")
    if result.different:
        named = ", ".join(result.different[:_MAX_NAMED])
        remedy = (
            f"Made with {changes}: rebuild with those versions." if changes else "The files or the code have changed."
        )
        msg = f"{len(result.different):,} samples of {result.version} are not what was published: {named}. {remedy}"
        raise PublishError(msg)


def _changes(result: Rebuilt) -> str:
    return ", ".join(f"{name} {then} (here {now})" for name, (then, now) in result.changed_environment.items())
