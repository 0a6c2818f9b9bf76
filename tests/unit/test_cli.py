"""The `aigc` command: what it says, what it passes on, how it exits, and that it stays light."""

import importlib
import io
from pathlib import Path
from typing import get_args

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

import aigc_pipeline
from aigc_pipeline import cli
from aigc_pipeline.cli.console import ConsoleReporter, Pace, duration
from aigc_pipeline.config import PipelineConfig, Preset
from aigc_pipeline.core.context import Context
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


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, PipelineConfig, Path, bool]]:
    """What `run` and `plan` ask for, instead of doing it."""
    calls: list[tuple[str, PipelineConfig, Path, bool]] = []
    for name in ("_augment", "_plan"):

        def remember(settings: PipelineConfig, workspace: Path, reporter: ConsoleReporter, *, name: str = name) -> None:
            calls.append((name, settings, workspace, reporter.quiet))

        monkeypatch.setattr(cli, name, remember)
    return calls


@pytest.mark.parametrize(
    ("arguments", "does"), [(["run"], "_augment"), (["run", "--dry-run"], "_plan"), (["plan"], "_plan")]
)
def test_every_option_of_a_run_reaches_it(
    runner: CliRunner,
    asked: list[tuple[str, PipelineConfig, Path, bool]],
    tmp_path: Path,
    arguments: list[str],
    does: str,
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("train: {patience: 3}\nevaluate: {num_seeds: 4}\n")
    options = [
        "-c",
        str(file),
        "-w",
        "there",
        "--preset",
        "thorough",
        "--size",
        "16",
        "--seed",
        "7",
        "-o",
        "score.shard_rows=99",
    ]

    result = runner.invoke(cli.app, ["--quiet", *arguments, "digits", *options])

    assert result.exit_code == 0, result.output
    [(name, settings, workspace, is_quiet)] = asked
    assert (name, workspace, is_quiet) == (does, Path("there"), True)
    assert settings.ingest.source.kind == "digits"
    assert (settings.split.size, settings.seed, settings.score.shard_rows) == (16, 7, 99)
    assert (settings.train.max_minutes, settings.train.patience, settings.evaluate.num_seeds) == (240, 3, 4)


def test_an_override_wins_over_an_option_of_its_own(
    runner: CliRunner, asked: list[tuple[str, PipelineConfig, Path, bool]]
) -> None:
    runner.invoke(cli.app, ["run", "digits", "--seed", "7", "-o", "seed=9"])

    assert [(settings.seed, is_quiet) for _, settings, _, is_quiet in asked] == [(9, False)]


@pytest.mark.parametrize("name", ["run_pipeline", "plan_pipeline"])
def test_a_run_is_given_its_workspace_seed_and_circumstance(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    given: list[Context] = []

    def stop(_settings: PipelineConfig, *, context: Context) -> None:
        given.append(context)
        raise DataError("enough")

    monkeypatch.setattr(f"aigc_pipeline.pipeline.{name}", stop)
    command = "run" if name == "run_pipeline" else "plan"
    runner.invoke(cli.app, [command, "digits", "-w", str(tmp_path), "--seed", "7", "-o", "runtime.threads=3"])

    assert [(each.store.workspace, each.seed, each.runtime.threads) for each in given] == [(tmp_path, 7, 3)]


W, OUT = Path("W"), Path("O")


@pytest.mark.parametrize(
    ("line", "function", "given"),
    [
        ("inspect digits -w W", "inspection.inspect_source", {"workspace": W}),
        ("show W", "showing.show_version", {0: W}),
        ("history W --json", "history.show_history", {0: W, "as_json": True}),
        ("explain abcdef -w W --json", "explaining.explain_sample", {0: "abcdef", 1: W, "as_json": True}),
        ("rebuild ab cd -w W --out O", "rebuilding.rebuild_samples", {0: W, 1: ["ab", "cd"], 2: OUT}),
        ("score D -w W --top 3 --out O", "scoring.score_folder", {0: Path("D"), 1: W, "top": 3, "out": OUT}),
        ("generators --json", "families.show_families", {"as_json": True}),
        ("new-generator mine --into O", "families.write_template", {0: "mine", 1: OUT}),
        (
            "synthesize W --class a=1 --class b=2 --with x=y --out O --seed 5 --truncation 0.5 --precision bfloat16 --compile",
            "generating.synthesize_classes",
            {0: W, 1: ["a=1", "b=2"], 2: ["x=y"], 3: OUT, "seed": 5, "truncation": 0.5, "precision": "bfloat16", "is_compiled": True},
        ),
        (
            "interpolate W --class a --to b --steps 5 --rows 2 --seed 4 --out O",
            "generating.draw_interpolation",
            {0: W, 1: "a", 2: "b", 3: OUT, "steps": 5, "rows": 2, "seed": 4},
        ),
        ("export W --to onnx --out O", "generating.export_generator", {0: W, 1: "onnx", 2: OUT}),
        ("compress W --out O", "generating.compress_generator", {0: W, 1: OUT}),
    ],
)  # fmt: skip
def test_every_option_of_a_command_reaches_it(
    runner: CliRunner, monkeypatch: pytest.MonkeyPatch, line: str, function: str, given: dict[int | str, object]
) -> None:
    calls: list[dict[int | str, object]] = []
    module, name = function.split(".")
    monkeypatch.setattr(
        importlib.import_module(f"aigc_pipeline.cli.{module}"),
        name,
        lambda *args, **more: calls.append({**dict(enumerate(args)), **more}),
    )

    result = runner.invoke(cli.app, line.split())

    assert result.exit_code == 0, result.output
    assert [{key: call[key] for key in given} for call in calls] == [given]


def test_python_users_are_given_what_they_ask_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[PipelineConfig, Context]] = []
    monkeypatch.setattr(
        "aigc_pipeline.pipeline.run_pipeline", lambda settings, *, context: asked.append((settings, context))
    )
    monkeypatch.setattr("aigc_pipeline.publishing.manifest.read_manifest", lambda *args, **more: (args, more))
    file = tmp_path / "settings.yaml"
    file.write_text("train: {patience: 3}\n")

    aigc_pipeline.run("digits", workspace=tmp_path, config=file, overrides=("seed=7", "runtime.threads=3"))

    [(settings, context)] = asked
    assert (settings.ingest.source.kind, settings.train.patience) == ("digits", 3)
    assert (context.store.workspace, context.seed, context.runtime.threads) == (tmp_path, 7, 3)
    read = aigc_pipeline.read_manifest(str(tmp_path), recommended_only=False)
    assert read == ((tmp_path,), {"recommended_only": False})
