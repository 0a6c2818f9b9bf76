"""How long a step of a training takes on this machine: a second or two of it, timed."""

import time
from collections.abc import Callable

import torch

from aigc_pipeline.training.devices import wait_for

_FIRST_STEPS, _PROBE_SECONDS = 5, 1.5


def seconds_a_step(train: Callable[[int], object], device: torch.device) -> float:
    """Return the seconds that one of many steps takes.

    Args:
        train: a training of so many steps, from its start.
    """

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        train(steps)
        wait_for(device)
        return time.perf_counter() - started

    seconds(_FIRST_STEPS)  # the first training of a process is slower
    steps = max(_FIRST_STEPS, round(_FIRST_STEPS * _PROBE_SECONDS / seconds(_FIRST_STEPS)))
    return seconds(steps) / steps
