"""How many samples a training can see in a given time: measured speed, less the time that looking at its samples takes.

A family that samples in many passes pays more for being looked at than one that samples in a single pass.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from aigc_pipeline.features.classifier import training_data
from aigc_pipeline.fitting.quality import NUM_FAKES
from aigc_pipeline.fitting.watching import GRID_SIZE, REPORT_SAMPLES, divergence_remedy
from aigc_pipeline.generators.synthesis import CHUNK_SIZE, Synthesizer
from aigc_pipeline.training.devices import wait_for
from aigc_pipeline.training.loop import LoopSettings, TrainingData, train
from aigc_pipeline.training.team import Team

_PROBE_SECONDS = 3.0
_SECONDS_A_PROBE = 0.3
_MIN_PROBES = 4
_MIN_TRAINING_SHARE = 0.5
"""However dear looking is, training gets half of the time."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Speed:
    """Samples per second."""

    trained: float
    """Real samples shown in training."""
    drawn: float
    """Samples synthesized."""

    def validate_share(self, wanted: float, seconds: float) -> float:
        """Return every which share of a training in `seconds` can be looked: as wanted, or more seldom, once at least."""
        most = int((1 - _MIN_TRAINING_SHARE) * seconds * self.drawn / NUM_FAKES)
        return max(wanted, 1 / max(most, 1)) if wanted else 0.0

    def affordable(self, validate_share: float, seconds: float) -> int:
        """Return how many samples can be shown in `seconds`, looking included."""
        left = max(seconds - self._looking(validate_share), _MIN_TRAINING_SHARE * seconds)
        return int(left / self._seconds_a_sample())

    def seconds(self, validate_share: float, total_samples: int) -> float:
        """Return how long a training of so many samples takes, looking included."""
        return total_samples * self._seconds_a_sample() + self._looking(validate_share)

    def _looking(self, validate_share: float) -> float:
        num_looks = math.floor(1 / validate_share + _ROUNDING) if validate_share else 0
        return num_looks * NUM_FAKES / self.drawn

    def _seconds_a_sample(self) -> float:
        return 1 / self.trained + GRID_SIZE / REPORT_SAMPLES / self.drawn


def measure_speed(
    synthesizer: Synthesizer, *, seed: int, precision: torch.dtype = torch.float32, num_gpus: int = 1
) -> Speed:
    """Train and draw for a few seconds, on copies of the synthesizer's networks.

    The fastest of several probes counts: a busy moment must not decide how long is trained. Of several GPUs one trains on
    its share of a batch, and what they tell each other is left out; so is `runtime.compile`, which takes minutes to try.

    Raises:
        ConfigError: if a batch has fewer pairs of samples than there are GPUs.
        TrainingDivergedError: if the very first steps end in numbers that are none.
    """
    family, device = synthesizer.generator, synthesizer.device
    rows = training_data(synthesizer.train, synthesizer.spec, device)
    data = TrainingData(rows.x, rows.labels, family.sampler(rows.labels))
    phases = family.phases(synthesizer.spec, len(synthesizer.train))

    largest = Team(num_gpus - 1, num_gpus).share(family.batch_size)
    share = largest.stop - largest.start

    def shown(steps: int) -> int:
        settings = LoopSettings(
            steps * share, share, seed, ema_half_life_samples=1e5, precision=precision, remedy=divergence_remedy(family)
        )
        train(copy.deepcopy(dict(synthesizer.networks)), phases, data, settings)
        return steps * family.batch_size

    num_drawn = CHUNK_SIZE * synthesizer.chunks_at_once
    orders = synthesizer.orders({int(synthesizer.train.labels[0]): num_drawn}, "probe", root=seed)

    def drawn(times: int) -> int:
        for _ in range(times):
            synthesizer.make(orders)
        return times * num_drawn

    return Speed(_fastest(shown, device), _fastest(drawn, device))


def _fastest(work: Callable[[int], int], device: torch.device) -> float:
    """Return the most units per second that `work(times)` did; `times` grows until a probe lasts long enough to time."""
    speeds: list[float] = []
    times, started = 1, time.monotonic()
    while len(speeds) < _MIN_PROBES or time.monotonic() - started < _PROBE_SECONDS:
        probe_started = time.monotonic()
        done = work(times)
        wait_for(device)
        seconds = time.monotonic() - probe_started
        speeds.append(done / seconds)
        times = max(1, round(times * _SECONDS_A_PROBE / seconds))
    return max(speeds)
