"""The training loop: phases in order, EMA, checkpoints, validation, health. Time is counted in samples seen.

Every step draws its randomness from (seed, samples seen) and the sampler is a pure function of the same, so resuming
needs no hidden state: on CPU a killed and resumed run ends with the same weights, bit for bit. The loop stays in one
piece because cutting it would hide the order of events.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.training.batch import Networks
from aigc_pipeline.training.checkpoint import Checkpointer
from aigc_pipeline.training.data import TrainingData
from aigc_pipeline.training.ema import ema_weight, update_ema
from aigc_pipeline.training.health import Finding, Watch
from aigc_pipeline.training.progress import Progress
from aigc_pipeline.training.rollback import answer
from aigc_pipeline.training.samplers import Sampler
from aigc_pipeline.training.state import pack, unpack
from aigc_pipeline.training.step import LoopSettings, Phase, Stepper, set_mode
from aigc_pipeline.training.strength import Adaptation
from aigc_pipeline.training.team import Team

__all__ = ["Hooks", "LoopSettings", "Networks", "Phase", "Sampler", "Trained", "TrainingData", "Validation", "train"]

logger = logging.getLogger(__name__)

_GPU_CHECK_EVERY = 20
"""Iterations between looks at the loss on a GPU: each look waits for it."""


@dataclass(frozen=True)
class Validation:
    """Held-out numbers taken every so many samples, each a curve; by one the best weights win, and patience ends training."""

    every_samples: int
    numbers: Callable[[Networks], Mapping[str, float]]
    patience: int
    decides: str = "score"
    """The number that decides; higher is better."""


def _ignore(*_: object) -> None:
    """Do nothing: the hook that nobody listens to."""


@dataclass
class Hooks:
    """What happens outside: progress, curves, pictures. All optional."""

    progress: Callable[[int, int], None] = _ignore
    metric: Callable[[str, float, int], None] = _ignore
    snapshot: Callable[[Networks, int], None] | None = None
    snapshot_every_samples: int = 0
    note: Callable[[str], None] = _ignore


@dataclass(frozen=True)
class Trained:
    """The result: averaged weights where an average was kept, best weights where a validation chose them."""

    networks: dict[str, nn.Module]
    samples_seen: int
    seconds: float
    best_score: float | None
    best_samples_seen: int
    """Samples seen when the returned weights were current."""
    events: tuple[str, ...] = ()
    """What went wrong and how it was answered, and why training ended early."""


@contextmanager
def translate_out_of_memory() -> Iterator[None]:
    """Turn what smaller micro-batches did not mend into a ConfigError.

    Raises:
        ConfigError: with torch's own account of the memory, and what needs less.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as err:
        msg = (
            f"the GPU has too little memory for this training, in smaller batches too ({err}). Take smaller samples "
            "(split.size) or a smaller network (train.generator.size), or end other work on that GPU, then run the same "
            "command again."
        )
        raise ConfigError(msg) from err


@translate_out_of_memory()
def train(  # noqa: C901 - one piece on purpose: cutting the loop would hide the order of events
    networks: Networks,
    phases: Sequence[Phase],
    data: TrainingData,
    settings: LoopSettings,
    *,
    checkpointer: Checkpointer | None = None,
    validation: Validation | None = None,
    adaptation: Adaptation | None = None,
    watch: Watch | None = None,
    team: Team | None = None,
    hooks: Hooks | None = None,
) -> Trained:
    """Train `networks` in place and return the result to use.

    An alarm (a loss or gradient that is not finite, or what `watch` says) brings the last good checkpoint back, the one
    before where that did not help, and goes on at half the learning rate; after `settings.max_rollbacks` of them training
    ends with the best weights that validation saw.

    Raises:
        TrainingDivergedError: where there is no good checkpoint, or no best weights to end with.
        CheckpointError: if a stored state belongs to other networks.
        ConfigError: if a phase is frozen as a whole, a batch has fewer pairs than the team has processes, or the GPU too
            little memory for the networks.
    """
    hooks, team = hooks or Hooks(), team or Team()
    stepper = Stepper(networks, phases, data, settings, team, hooks.note)
    average = copy.deepcopy(dict(networks)) if settings.ema_half_life_samples is not None else None
    set_mode(average or {}, training=False)
    progress = Progress(strength=adaptation.start if adaptation else 0.0)
    if checkpointer is not None:
        if (state := checkpointer.load_latest(data.device)) is not None:
            progress = unpack(state, networks, average, stepper)
            logger.info("resuming at %d of %d samples", progress.samples_seen, settings.total_samples)
        elif settings.checkpoint_every_samples and team.is_first:
            checkpointer.save(pack(networks, average, stepper, progress), 0)
    started, started_at, step_samples = time.monotonic(), progress.samples_seen, stepper.samples_per_iteration

    while progress.samples_seen < settings.total_samples and not progress.stopped:
        seen = progress.samples_seen
        values = stepper.iterate(progress)
        progress.samples_seen = seen = seen + step_samples
        if average is not None and settings.ema_half_life_samples is not None:
            update_ema(average, networks, ema_weight(step_samples, settings.ema_half_life_samples, seen))
        result = average if average is not None else dict(networks)
        set_mode(result, training=False)  # looking must not move a BatchNorm statistic
        due = {
            name: _is_due(seen, step_samples, every)
            for name, every in _events(settings, validation, adaptation).items()
        }

        alarm = None
        if data.device.type == "cpu" or any(due.values()) or (seen // step_samples) % _GPU_CHECK_EVERY == 0:
            alarm = _not_finite(values, seen, settings.precision)
        if (due["report"] or due["checkpoint"]) and alarm is None:  # a sick state must not be stored
            numbers = {name: float(value) for name, value in values.items()}
            numbers["samples_per_second"] = (seen - started_at) / (time.monotonic() - started)
            if adaptation is not None:
                numbers |= {"augmentation": progress.strength, "overfitting": progress.overfitting}
            progress.remember(numbers)
            finding = Finding()
            if watch is not None and team.is_first:
                finding = watch(result, progress.history, seen / settings.total_samples)
                progress.history[-1] |= finding.numbers
            for name, value in {**numbers, **stepper.memory(), **finding.numbers}.items():
                hooks.metric(name, value, seen)
            alarm = team.agree(finding.alarm)
        if alarm is not None:
            progress = answer(alarm, progress, average, stepper, checkpointer)
            continue

        if adaptation is not None and due["adaptation"]:
            set_mode(networks, training=False)
            progress.overfitting = team.agree(adaptation.signal(networks) if team.is_first else 0.0)
            progress.strength = adaptation.next(progress.strength, progress.overfitting)
        if validation is not None and due["validation"]:
            looked = validation.numbers(result) if team.is_first else {}
            for name, value in looked.items():
                hooks.metric(f"validation/{name}", value, seen)
            score = team.agree(looked.get(validation.decides, 0.0))
            progress.consider(score, result, validation.patience)
            if progress.stopped:
                progress.events.append(
                    f"no progress on held-out samples in {validation.patience} comparisons: training ends at {seen:,} "
                    f"samples with the weights of {progress.best_samples_seen:,}"
                )
        if hooks.snapshot is not None and team.is_first and _is_due(seen, step_samples, hooks.snapshot_every_samples):
            hooks.snapshot(result, seen)
        if checkpointer is not None and due["checkpoint"]:
            if team.is_first:
                checkpointer.save(pack(networks, average, stepper, progress), seen)
            team.wait()
        hooks.progress(min(seen, settings.total_samples), settings.total_samples)

    result = average if average is not None else dict(networks)
    if progress.best is not None:
        for name, weights in progress.best.items():
            result[name].load_state_dict(weights)
    return Trained(
        result,
        progress.samples_seen,
        time.monotonic() - started,
        progress.best_score,
        progress.best_samples_seen if progress.best is not None else progress.samples_seen,
        tuple(progress.events),
    )


def _events(settings: LoopSettings, validation: Validation | None, adaptation: Adaptation | None) -> dict[str, int]:
    """Return every how many samples each thing is due; 0 for never."""
    return {
        "report": settings.report_every_samples,
        "validation": validation.every_samples if validation else 0,
        "adaptation": adaptation.every_samples if adaptation else 0,
        "checkpoint": settings.checkpoint_every_samples or 0,
    }


def _is_due(samples_seen: int, step_samples: int, every: int) -> bool:
    """Tell whether a multiple of `every` lies in the last iteration."""
    return every > 0 and samples_seen % every < step_samples


def _not_finite(values: Mapping[str, Tensor], samples_seen: int, precision: torch.dtype) -> str | None:
    """Tell which loss or gradient is not finite; a scaler (float16) steps over such gradients and needs no alarm."""
    watched = {"loss": "loss"} if precision == torch.float16 else {"loss": "loss", "gradient_norm": "gradient"}
    for name, value in values.items():
        phase, _, what = name.rpartition("/")
        if what in watched and not math.isfinite(float(value)):
            return f"the {watched[what]} of phase '{phase}' became {float(value)} after {samples_seen:,} samples"
    return None
