"""kill -9 at a bad moment, then the same command: nothing missing, nothing doubled, the same weights bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.running import FAST

pytestmark = pytest.mark.e2e
EXTRA = (
    "train.checkpoint_share=0.02",
    "runtime.threads=1",
    "train.total_samples=60000",
    "synthesize.max_oversampling=60",
)


def start(workspace: Path, *overrides: str) -> subprocess.Popen[bytes]:
    options = [part for override in (*FAST, *EXTRA, *overrides) for part in ("-o", override)]
    command = [sys.executable, "-m", "aigc_pipeline", "run", "mixture", "-w", str(workspace), *options]
    return subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(workspace: Path, *overrides: str) -> None:
    process = start(workspace, *overrides)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors.decode()


def kill_when(workspace: Path, pattern: str, count: int, *overrides: str) -> None:
    """Kill the run as soon as `count` files match; fails if it ends before."""
    process = start(workspace, *overrides)
    deadline = time.monotonic() + 240
    while len(list(workspace.glob(pattern))) < count:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def weights(workspace: Path) -> bytes:
    (file,) = (workspace / "stages/train").glob("*/generator.safetensors")
    return file.read_bytes()


def candidate_ids(workspace: Path) -> list[str]:
    table = pq.read_table(workspace / "versions/v0001/candidates.parquet", columns=["sample_id"])
    return table["sample_id"].to_pylist()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("whole")
    finish(workspace)
    return workspace


def test_killed_while_training(tmp_path, uninterrupted):
    kill_when(tmp_path, "stages/train/*.partial/states/state-*", 2)
    assert not list((tmp_path / "stages/train").glob("*/record.json"))

    finish(tmp_path)

    assert weights(tmp_path) == weights(uninterrupted)
    assert candidate_ids(tmp_path) == candidate_ids(uninterrupted)


def test_killed_while_synthesizing(tmp_path, uninterrupted):
    kill_when(tmp_path, "stages/synthesize/*.partial/candidates-*.arrow", 1)

    finish(tmp_path)

    ids = candidate_ids(tmp_path)
    assert len(set(ids)) == len(ids)
    assert ids == candidate_ids(uninterrupted)
