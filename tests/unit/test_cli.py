"""The `aigc` command: what it says, how it exits, and that it stays light."""

import io
from pathlib import Path
from typing import get_args

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from aigc_pipeline import cli
from aigc_pipeline.cli.console import ConsoleReporter, Pace, duration
from aigc_pipeline.config import Preset
from aigc_pipeline.core.errors import DataError


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def plain_console(*, terminal: bool = False) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, width=100, force_terminal=terminal, color_system=None), text


def test_version_is_printed(runner: CliRunner) -> None:
    result = runner.invoke(cli.app, ["--version"])

    assert result.exit_code == 0
    assert result.output.startswith("aigc ")


def test_presets_are_those_of_the_config() -> None:
    assert get_args(cli.Preset) == get_args(Preset)


def test_empty_folder_is_one_message_and_exit_code_1(runner: CliRunner, tmp_path: Path) -> None:
    source = tmp_path / "pictures"
    source.mkdir()

    result = runner.invoke(cli.app, ["run", str(source), "--workspace", str(tmp_path / "w")])

    assert result.exit_code == 1
    assert "SourceError" in result.stderr
    assert str(source) in result.stderr
    assert "Traceback" not in result.output


def test_unknown_setting_is_named_with_the_known_ones(runner: CliRunner, tmp_path: Path) -> None:
    result = runner.invoke(cli.app, ["plan", "digits", "-w", str(tmp_path), "-o", "split.siez=8"])

    assert result.exit_code == 1
    assert "split.siez" in result.stderr
    assert "size" in result.stderr


def test_traceback_flag_lets_the_error_through(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="there is no such setting"):
        cli.main(["plan", "digits", "-w", str(tmp_path), "-o", "nonsense=1", "--traceback"])


def test_interrupt_says_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as raised, cli.user_errors(traceback=False):
        raise KeyboardInterrupt

    assert raised.value.exit_code == 130
    assert "run the same command again to resume" in capsys.readouterr().err


def test_user_error_is_printed_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as raised, cli.user_errors(traceback=False):
        raise DataError("3 samples in class 'cat'")

    assert raised.value.exit_code == 1
    assert capsys.readouterr().err == "DataError: 3 samples in class 'cat'\n"


def test_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError), cli.user_errors(traceback=False):
        _ = 1 / 0


def test_progress_without_a_terminal_is_not_spam() -> None:
    console, text = plain_console()
    with ConsoleReporter(console) as reporter:
        for done in range(1_000):
            reporter.progress("train", done, 1_000)

    assert text.getvalue() == ""


def test_progress_on_a_terminal_shows_rate_and_remaining_time() -> None:
    console, text = plain_console(terminal=True)
    with ConsoleReporter(console) as reporter:
        reporter.progress("train", 0, 100)
        reporter.progress("train", 50, 100)

    assert "50 of 100" in text.getvalue()
    assert "left" in text.getvalue()


def test_stage_lines_tell_computed_from_reused() -> None:
    console, text = plain_console()
    with ConsoleReporter(console) as reporter:
        reporter.stage("ingest", "reused", 0.0)
        reporter.stage("train", "started", 0.0)
        reporter.stage("train", "finished", 200.0)

    assert text.getvalue().split() == ["ingest", "reused", "train", "finished", "3", "min", "20", "s"]
    assert reporter.computed == {"train"}


def test_quiet_leaves_notes_and_the_commands_own_result() -> None:
    console, text = plain_console()
    with ConsoleReporter(console, quiet=True) as reporter:
        reporter.stage("ingest", "finished", 1.0)
        reporter.table("plan", [{"class": "0"}])
        reporter.note("class '7' is small")
        reporter.result("variants", [{"bytes": 512}])

    assert text.getvalue().split("\n")[0] == "class '7' is small"
    assert "plan" not in text.getvalue()
    assert "512" in text.getvalue()


def test_square_brackets_in_names_are_not_markup() -> None:
    console, text = plain_console()
    with ConsoleReporter(console) as reporter:
        reporter.note("class '[bold]' is small")
        reporter.table("[plan]", [{"[class]": "[/red]"}])

    assert "[bold]" in text.getvalue()
    assert "[/red]" in text.getvalue()


def test_a_name_cannot_speak_to_the_terminal() -> None:
    console, text = plain_console()
    with ConsoleReporter(console) as reporter:
        reporter.note("cat/\x1b[2Ja.png\nis left out")
        reporter.table("refused", [{"file": "cat/\x1b]0;owned\x07.png"}])

    assert r"cat/\x1b[2Ja.png" in text.getvalue()
    assert r"cat/\x1b]0;owned\x07.png" in text.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"), [(8.24, "8.2 s"), (59.7, "1 min 00 s"), (200, "3 min 20 s"), (7_500, "2 h 05 min")]
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_pace_counts_from_where_a_resumed_task_began(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace(900, started=0.0)
    monkeypatch.setattr("time.monotonic", lambda: 10.0)

    assert pace.describe(950, 1_000) == "5/s, 10 s left"
