"""Every family, killed twenty times at random steps and torn once: the weights of an uninterrupted training, bit for bit.

`pytest -m slow tests/e2e/test_kill_training.py`: about a minute and a half a family on an idle core.
"""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from aigc_pipeline.generators import built_in

NUM_KILLS = 20
TRAINED = [
    each.model_fields["kind"].default
    for each in built_in()
    if each.can_handle("image") and each.model_fields["kind"].default not in {"classic", "weights_file"}
]
pytestmark = [pytest.mark.slow, pytest.mark.e2e]


def start(kind: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.e2e.killable", kind, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def kill_after(num_steps: int, kind: str, folder: Path) -> int:
    """Kill the training after so many steps of its own; return the step it had reached."""
    process = start(kind, folder)
    assert process.stdout is not None
    reached = 0
    for _ in range(num_steps):
        line = process.stdout.readline()
        assert line, "the training ended before it could be killed"
        reached = int(line)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return reached


def finish(kind: str, folder: Path) -> bytes:
    process = start(kind, folder)
    process.communicate(timeout=600)
    assert process.returncode == 0
    return (folder / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("kind", TRAINED)
def test_weights_after_twenty_kills_and_a_torn_checkpoint_equal_the_uninterrupted_ones(kind, tmp_path):
    random_steps = random.Random(kind)  # noqa: S311 - steps, not secrets
    whole = finish(kind, tmp_path / "whole")

    reached = [kill_after(random_steps.randint(3, 9), kind, tmp_path / "killed") for _ in range(NUM_KILLS)]
    newest = max((tmp_path / "killed" / "states").glob("state-*.safetensors"))
    newest.write_bytes(newest.read_bytes()[: random_steps.randint(10, 1_000)])

    assert finish(kind, tmp_path / "killed") == whole
    assert len(reached) == NUM_KILLS
    assert max(reached) > min(reached)
