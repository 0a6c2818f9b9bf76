"""What the flow, its tasks and its command line pass on; nothing is run and no API is asked."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from prefect.states import Failed
from typer.testing import CliRunner

from aigc_pipeline.config import PipelineConfig
from aigc_pipeline.core.context import Context, RuntimeConfig
from aigc_pipeline.core.errors import ConfigError, PipelineError
from aigc_pipeline.core.store import Store
from aigc_pipeline.pipeline import BoundStage
from aigc_pipeline.stages.clean import clean
from aigc_pipeline.stages.train import train
from flows import tasks, terminal
from flows.augment import augment
from flows.gpu import locked
from flows.tasks import task_of

Asked = Callable[..., tuple[str, PipelineConfig, Context]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asked:
    """Call the flow with parameters; returns whether it would run or plan, and with what."""
    monkeypatch.setattr("flows.augment._run", lambda settings, context, _: ("run", settings, context))
    monkeypatch.setattr("flows.augment._plan", lambda settings, context: ("plan", settings, context))

    def ask(**parameters: object) -> tuple[str, PipelineConfig, Context]:
        given = {"source": "digits", "workspace": str(tmp_path / "w")} | parameters
        return augment.fn(**given)  # type: ignore[return-value,arg-type] # replaced above

    return ask


def test_every_parameter_of_the_flow_reaches_the_run(asked: Asked, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("seed: 5\ntrain: {patience: 3}\n")

    does, settings, context = asked(
        preset="thorough", minutes=7.0, seed=11, config_file=str(file), overrides=["runtime.threads=3"]
    )

    assert does == "run"
    assert settings.ingest.source.kind == "digits"
    assert (settings.evaluate.num_seeds, settings.train.max_minutes, settings.train.patience) == (10, 7, 3)
    assert (settings.seed, context.seed, context.runtime.threads) == (11, 11, 3)
    assert context.store.workspace == tmp_path / "w"


def test_what_is_left_empty_is_taken_from_the_config_file_and_the_preset(asked: Asked, tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("seed: 5\ningest: {source: {kind: mixture}}\n")

    _, settings, _ = asked(source="", preset="thorough", config_file=str(file))

    assert (settings.seed, settings.ingest.source.kind, settings.train.max_minutes) == (5, "mixture", 240)


def test_overrides_win_over_parameters_of_the_same_setting(asked: Asked) -> None:
    _, settings, _ = asked(minutes=7.0, seed=11, overrides=["train.max_minutes=9", "seed=12"])

    assert (settings.train.max_minutes, settings.seed) == (9, 12)


def test_a_dry_run_plans(asked: Asked) -> None:
    assert asked(dry_run=True)[0] == "plan"


@pytest.fixture
def stages(store: Store) -> tuple[BoundStage[..., Any], BoundStage[..., Any]]:
    """Return a stage that is cheap and the training."""
    context = Context(store, 0, RuntimeConfig(device="cpu"))
    return BoundStage(clean, context), BoundStage(train, context)


def test_training_is_never_tried_again_and_other_stages_once(
    stages: tuple[BoundStage[..., Any], BoundStage[..., Any]],
) -> None:
    assert [task_of(stage).retries for stage in stages] == [1, 0]


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError("a share is away"), True),
        (ConnectionResetError(), True),
        (ConfigError("wrong"), False),
        (ZeroDivisionError(), False),
    ],
)
def test_only_trouble_of_disks_and_networks_is_tried_again(
    stages: tuple[BoundStage[..., Any], BoundStage[..., Any]], error: Exception, again: bool
) -> None:
    condition: Any = task_of(stages[0]).retry_condition_fn

    assert condition(None, None, Failed(data=error)) is again


@pytest.mark.parametrize(("name", "held"), [("train", True), ("embed", False)])
def test_a_gpu_is_held_while_a_generator_is_trained(monkeypatch: pytest.MonkeyPatch, name: str, held: bool) -> None:
    holds: list[RuntimeConfig] = []

    @contextmanager
    def hold(runtime: RuntimeConfig) -> Iterator[None]:
        holds.append(runtime)
        yield
        holds.clear()

    class Stage(SimpleNamespace):
        def __call__(self) -> list[RuntimeConfig]:
            return list(holds)

    runtime = RuntimeConfig(device="cuda:1")
    monkeypatch.setattr(tasks, "one_training_per_gpu", hold)
    found: Any = tasks._compute(Stage(name=name, context=SimpleNamespace(runtime=runtime)))  # type: ignore[arg-type] # what is asked of one

    assert found == ([runtime] if held else [])


def test_a_second_training_waits_until_the_first_has_ended(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entered = threading.Event()

    def second() -> None:
        with locked(tmp_path / "gpu.lock"):
            entered.set()

    with locked(tmp_path / "gpu.lock"):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3)
    thread.join(30)

    assert entered.is_set()
    assert "another training holds" in caplog.text


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[dict[str, object], bool]]:
    """Type a command line; returns the parameters of the flow, and whether it is quiet."""
    calls: list[tuple[dict[str, object], bool]] = []
    monkeypatch.setattr(terminal, "_run", lambda parameters, _, *, quiet: calls.append((parameters, quiet)))
    monkeypatch.setattr(os, "environ", dict(os.environ) | {"PREFECT_LOGGING_LEVEL": "DEBUG"})
    app = typer.Typer()
    app.command()(terminal.augment_command)

    def type_in(*arguments: str) -> tuple[dict[str, object], bool]:
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        return calls.pop()

    return type_in


def test_every_option_of_the_command_line_reaches_the_flow(
    command: Callable[..., tuple[dict[str, object], bool]], tmp_path: Path
) -> None:
    workspace = str(tmp_path / "w")
    words = f"digits --preset smoke --minutes 3 --seed 4 --dry-run -w {workspace} -c file.yaml -o a=1 -o b=2 --quiet"

    parameters, is_quiet = command(*words.split())

    assert is_quiet
    assert parameters == {
        "source": "digits", "preset": "smoke", "minutes": 3.0, "seed": 4, "dry_run": True, "workspace": workspace,
        "config_file": "file.yaml", "overrides": ["a=1", "b=2"],
    }  # fmt: skip
    assert set(parameters) == set(augment.parameters.properties)


def test_what_the_environment_says_of_prefect_wins(
    command: Callable[..., tuple[dict[str, object], bool]], tmp_path: Path
) -> None:
    command("digits", "-w", str(tmp_path / "w"))

    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_a_user_error_of_the_command_line_is_one_line_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PipelineError("no such class")

    monkeypatch.setattr(terminal, "_run", fail)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    app = typer.Typer()
    app.command()(terminal.augment_command)

    result = CliRunner().invoke(app, ["digits", "-w", str(tmp_path)])

    assert result.exit_code == 1
    assert result.stderr == "PipelineError: no such class\n"
