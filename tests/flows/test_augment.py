"""The flow on points, whose whole pipeline takes seconds: same result as the library, stages visible, reuse named."""

import base64
import fcntl
import io
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import httpx
import numpy as np
import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import Artifact, State
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.logging.handlers import APILogHandler

from aigc_pipeline.core.context import RuntimeConfig
from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.records import Manifest, SynthesisPlan
from flows.augment import augment
from flows.gpu import gpus_of, locked, one_training_per_gpu
from flows.logs import library_logs
from flows.reporting import PrefectReporter, key_of

STAGES = (
    "ingest clean split plan embed train calibrate synthesize score filter evaluate publish".split()  # noqa: SIM905 - reads as the pipeline does
)
TINY = [
    "ingest.source={kind: mixture, counts: [120, 120, 40], test_per_class: 60}",
    "train.total_samples=4096",
    "runtime.threads=1",
]
_SECONDS_FOR_EVENTS = 20


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flow")


@pytest.fixture(scope="session")
def first(prefect_api: None, workspace: Path) -> State[Manifest]:  # noqa: ARG001 - an API must run
    return run_flow(workspace)


def run_flow(workspace: Path, **parameters: object) -> State[Manifest]:
    settings = {"preset": "smoke", "workspace": str(workspace), "overrides": TINY} | parameters
    return augment(**settings, return_state=True)  # type: ignore[call-overload,no-any-return] # built above


def task_states(state: State[Manifest]) -> dict[str, str]:
    """Return the tasks' states. The server learns of them by events, on a busy machine seconds after the run has ended."""
    only = FlowRunFilter(id=FlowRunFilterId(any_=[_run_id(state)]))
    deadline = time.monotonic() + _SECONDS_FOR_EVENTS
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=only)
        while time.monotonic() < deadline and not all(run.state and run.state.is_final() for run in runs):
            time.sleep(0.2)
            runs = client.read_task_runs(flow_run_filter=only)
    return {run.name: run.state_name or "" for run in runs}


def _run_id(state: State[Manifest]) -> UUID:
    assert state.state_details.flow_run_id
    return state.state_details.flow_run_id


def artifacts(state: State[Manifest]) -> dict[str, str]:
    return {each.key or "": each.type or "" for each in _artifacts(state)}


def verdict_of(state: State[Manifest]) -> str:
    return next(str(each.data) for each in _artifacts(state) if each.key == "verdict")


def _artifacts(state: State[Manifest]) -> list[Artifact]:
    with get_client(sync_client=True) as client:
        return client.read_artifacts(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[_run_id(state)])))


def test_flow_publishes_and_its_state_carries_the_verdict(first: State[Manifest]) -> None:
    manifest = first.result()

    assert first.is_completed()
    assert first.message == manifest.sentence


def test_every_stage_is_a_task_run_named_after_it(first: State[Manifest]) -> None:
    assert set(task_states(first)) == set(STAGES)


def test_warnings_of_the_flows_reach_the_run_too() -> None:
    flows = logging.getLogger("flows")

    with library_logs(to_console=True):
        assert [type(each) for each in flows.handlers] == [APILogHandler]
    assert flows.handlers == []


def test_flow_leaves_the_library_logger_as_it_was(first: State[Manifest]) -> None:
    library = logging.getLogger("aigc_pipeline")

    assert first.is_completed()
    assert (library.level, library.propagate, library.handlers) == (logging.NOTSET, True, [])


def test_library_logs_reach_the_run(first: State[Manifest]) -> None:
    with get_client(sync_client=True) as client:
        logs = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[_run_id(first)])))

    assert "stage train started" in {each.message for each in logs if each.name == "aigc_pipeline"}


def test_plan_and_verdict_are_artifacts(first: State[Manifest]) -> None:
    kinds = artifacts(first)

    assert kinds["plan"] == "table"
    assert kinds["verdict"] == "markdown"
    assert kinds["train-progress"] == "progress"


def test_second_run_reuses_every_stage_and_publishes_the_same(first: State[Manifest], workspace: Path) -> None:
    second = run_flow(workspace)

    assert set(task_states(second).values()) == {"Reused"}
    assert second.result() == first.result()
    assert artifacts(second) == {"verdict": "markdown", "rows": "table", "versions": "table"}
    assert "Nothing new" in verdict_of(second)
    assert "Nothing new" not in verdict_of(first)


def test_versions_stand_side_by_side_and_a_damaged_one_ends_no_run(first: State[Manifest], workspace: Path) -> None:
    shown = next(json.loads(str(each.data)) for each in _artifacts(first) if each.key == "versions")
    facts = workspace / "versions" / str(first.result().version) / "version.json"
    content = facts.read_text()
    try:
        facts.write_text("{}")
        damaged = run_flow(workspace)
    finally:
        facts.write_text(content)

    assert [row["version"] for row in shown] == ["v0001"]
    assert damaged.is_completed()
    assert "versions" not in artifacts(damaged)


def test_dry_run_stops_after_the_plan(first: State[Manifest], workspace: Path) -> None:  # noqa: ARG001 - its stages are reused
    state = run_flow(workspace, dry_run=True)

    assert isinstance(state.result(), SynthesisPlan)
    assert "train" not in task_states(state)


def test_user_error_fails_the_run_with_its_message_alone(
    prefect_api: None,  # noqa: ARG001
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = run_flow(tmp_path, overrides=[*TINY, "train.nonsense=1"])

    assert state.is_failed()
    assert "train.nonsense" in str(state.message)
    assert "Traceback" not in caplog.text
    with pytest.raises(ConfigError):
        state.result()


def test_user_error_is_one_line_where_a_worker_logs_it_again(tmp_path: Path) -> None:
    engine = logging.getLogger("prefect.flow_runs")
    failed: State[Manifest] = augment.fn(config_file=str(tmp_path / "nope.yaml"))  # type: ignore[assignment] # no engine, no API
    error = failed.data
    assert isinstance(error, ConfigError)

    record = engine.makeRecord("", logging.ERROR, "", 0, "unexpected", (), (ConfigError, error, error.__traceback__))
    engine.filter(record)

    assert logging.Formatter().format(record) == f"ConfigError: {error}"


def test_refused_artifacts_do_not_end_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError

    monkeypatch.setattr("flows.reporting.create_table_artifact", refuse)
    reporter = PrefectReporter()

    reporter.table("plan", [{"class": "0"}])
    reporter.table("plan", [{"class": "0"}])

    assert reporter.num_refused == 2


def test_progress_is_throttled_and_ends_where_the_task_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(
        "flows.reporting.create_progress_artifact", lambda *_, description, **__: shown.append(description) or 1
    )
    monkeypatch.setattr("flows.reporting.update_progress_artifact", lambda *_, description: shown.append(description))
    reporter = PrefectReporter()

    for done in range(0, 60, 10):
        reporter.progress("embed", done, 100)
    reporter.stage("embed", "finished", 1.0)

    assert [each.partition(" (")[0] for each in shown] == ["embed: 0 of 100", "embed: 50 of 100"]


def test_a_server_that_is_away_holds_a_stage_up_for_a_tenth_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's client gives up after 80 s; the stage reports every second, for an hour."""
    clock = [0.0]
    refused: list[float] = []

    def wait_in_vain(*_: object, **__: object) -> None:
        clock[0] += 80
        refused.append(clock[0])
        raise ConnectionError

    monkeypatch.setattr("flows.reporting.create_progress_artifact", wait_in_vain)
    monkeypatch.setattr("flows.reporting.time.monotonic", lambda: clock[0])
    reporter = PrefectReporter()

    for second in range(3_600):
        clock[0] += 1
        reporter.progress("train", second, 1_000_000)

    assert 2 <= len(refused) <= 6


@pytest.mark.parametrize("side", [16, 512, 2048])
def test_pictures_of_any_size_are_shown(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is the hardest to store: 16, 512 and 2048 px are 1 kB, 0.8 MB and 13 MB of PNG."""
    shown: list[str] = []
    monkeypatch.setattr("flows.reporting.create_markdown_artifact", lambda text, **_: shown.append(text))
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(file := io.BytesIO(), "PNG")

    PrefectReporter().image("samples after 12", file.getvalue())

    content = base64.b64decode(shown[0].rpartition("base64,")[2].removesuffix(")"))
    assert Image.open(io.BytesIO(content)).format == ("PNG" if side == 16 else "JPEG")
    assert len(content) <= 200_000


@pytest.mark.parametrize(
    ("title", "key"),
    [
        ("samples after 12,000", "samples"),
        ("embed: encoder progress", "embed-encoder-progress"),
        ("7", "untitled"),
    ],
)
def test_pictures_of_a_series_share_a_key(title: str, key: str) -> None:
    assert key_of(title) == key


def test_cpu_training_waits_for_no_gpu() -> None:
    assert gpus_of(RuntimeConfig(device="cpu")) == []


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers 7 and 5 of the machine."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7,5")


@pytest.mark.usefixtures("two_gpus")
def test_gpu_index_follows_cuda_visible_devices() -> None:
    assert gpus_of(RuntimeConfig(device="cuda:1")) == ["5"]
    assert gpus_of(RuntimeConfig(processes=2)) == ["5", "7"]
    with pytest.raises(ConfigError, match="'cuda:5', but 2 GPUs are visible"):
        gpus_of(RuntimeConfig(device="cuda:5"))


@pytest.mark.usefixtures("two_gpus")
def test_several_processes_hold_a_gpu_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("flows.gpu._find_limit", lambda _: None)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with one_training_per_gpu(RuntimeConfig(processes=2)):
        for gpu in ("5", "7"):
            with (tmp_path / f"aigc-gpu-{gpu}.lock").open() as lock, pytest.raises(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(("active", "warnings"), [(0, 0), (1, 1)])
def test_a_limit_is_held_and_waiting_for_it_is_said(
    active: int,
    warnings: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limit = SimpleNamespace(name="gpu:here:7", limit=1, active_slots=active)
    monkeypatch.setattr("flows.gpu._find_limit", lambda _: limit)
    held: list[str] = []

    @contextmanager
    def concurrency(name: str, **_: object) -> Iterator[None]:
        held.append(name)
        yield
        held.remove(name)

    monkeypatch.setattr("flows.gpu.concurrency", concurrency)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with one_training_per_gpu(RuntimeConfig()):
        assert held == ["gpu:here:7"]

    assert held == []
    assert caplog.messages == ["another training holds the limit gpu:here:7: waiting for it to end"] * warnings


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("away", ["when asked", "when taken", "when given back"])
def test_a_server_that_is_away_stops_no_training(
    away: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained: list[str] = []

    def find(name: str) -> SimpleNamespace:
        if away == "when asked":
            raise httpx.ConnectError(away)
        return SimpleNamespace(name=name, limit=1, active_slots=0)

    @contextmanager
    def take(*_: object, **__: object) -> Iterator[None]:
        if away == "when taken":
            raise ConcurrencySlotAcquisitionError(away)
        yield
        raise httpx.ConnectError(away)

    monkeypatch.setattr("flows.gpu._find_limit", find)
    monkeypatch.setattr("flows.gpu.concurrency", take)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    with one_training_per_gpu(RuntimeConfig()):
        trained.append("here")

    assert trained
    assert (tmp_path / "aigc-gpu-7.lock").exists()
    assert [away in each for each in caplog.messages] == [True]


def test_lock_of_another_user_can_be_waited_for(tmp_path: Path) -> None:
    before = os.umask(0o077)
    with locked(tmp_path / "gpu.lock"):
        os.umask(before)

    assert (tmp_path / "gpu.lock").stat().st_mode & 0o777 == 0o666


def test_lock_is_free_again_after_its_holder(tmp_path: Path) -> None:
    with locked(tmp_path / "gpu.lock"):
        pass
    with locked(tmp_path / "gpu.lock"):
        assert (tmp_path / "gpu.lock").exists()
