"""One run of a user's command: no shell, its own folder, a log, a time limit that ends its children as well."""

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from aigc_pipeline.core.errors import PipelineError

LOG_FILE = "log.txt"
_TAIL_BYTES = 16_384
_TAIL_LINES = 15
_GRACE_SECONDS = 10.0


class CommandError(PipelineError):
    """The user's own training command could not be run, or its answer cannot be used."""


def run_command(arguments: Sequence[str], directory: Path, *, timeout_seconds: float) -> None:
    """Run a command to its end in `directory`, with our environment; what it prints goes to `log.txt` there.

    Args:
        arguments: program and arguments, handed over as they are: no shell reads them.
        directory: exists; the command's working directory.

    Raises:
        CommandError: if it cannot be started, fails, or takes longer than `timeout_seconds`.
    """
    log = directory / LOG_FILE
    with log.open("wb") as stream:
        process = _start(arguments, directory, stream.fileno())
        try:
            status = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired as err:
            _end(process)
            msg = (
                f"{_shown(arguments)} had not finished after {timeout_seconds / 60:g} minutes and was stopped. Raise "
                f"evaluate.command.timeout_minutes, or train for less.{_tail(log)}"
            )
            raise CommandError(msg) from err
        finally:
            _end(process)  # also on Ctrl-C, and whatever it left running in the background
    if status != 0:
        ended = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"failed with exit code {status}"
        msg = f"{_shown(arguments)} {ended}. Run that line by hand to repair it.{_tail(log)}"
        raise CommandError(msg)


def _start(arguments: Sequence[str], directory: Path, log: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - a list, so that no shell reads it; the user configured it
            list(arguments),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as err:
        msg = f"{_shown(arguments)} cannot be started: {err}. Check evaluate.command.argv."
        raise CommandError(msg) from err


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole process group, politely first."""
    if process.poll() is None and _signal(process, signal.SIGTERM):
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
    _signal(process, signal.SIGKILL)
    process.wait()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> bool:
    """Send a signal to the group; False where nothing of it is left."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # gone; on macOS a group of zombies refuses
        return False
    return True


def _shown(arguments: Sequence[str]) -> str:
    return f"the command `{subprocess.list2cmdline(arguments)}`"


def _tail(log: Path) -> str:
    """Return the last lines of a log and where it lies."""
    with log.open("rb") as stream:
        stream.seek(max(log.stat().st_size - _TAIL_BYTES, 0))
        lines = stream.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    if not lines:
        return f" It printed nothing ({log})."
    return f" The end of its log ({log}):\n" + "\n".join(f"  {line}" for line in lines)
