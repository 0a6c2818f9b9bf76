"""The training loop: phases in order, EMA, checkpoints, validation. Time is counted in samples seen.

Every step draws its randomness from (seed, samples seen) and the sampler is a pure function of the same, so resuming
needs no hidden state: on CPU a killed and resumed run ends with the same weights, bit for bit. The loop stays in one
piece because cutting it would hide the order of events.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aigc_pipeline.core.errors import CheckpointError, TrainingDivergedError
from aigc_pipeline.core.seeding import seed_for
from aigc_pipeline.training.checkpoint import Checkpointer, State
from aigc_pipeline.training.ema import ema_weight, update_ema
from aigc_pipeline.training.schedule import Cosine, constant

logger = logging.getLogger(__name__)

Networks = Mapping[str, nn.Module]
Loss = Callable[[Networks, "Batch"], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True)
class Batch:
    """What a phase's loss is given: real samples, and a generator for whatever else it draws."""

    x: Float[Tensor, "n *shape"]
    labels: Int[Tensor, " n"]
    weights: Float[Tensor, " n"]
    rng: torch.Generator
    progress: float
    """Share of training done, in [0, 1)."""


@dataclass(frozen=True)
class Phase:
    """One optimizer step of an iteration: which networks move, down which loss."""

    name: str
    networks: tuple[str, ...]
    loss: Loss
    learning_rate: Cosine
    beta1: float = 0.9
    beta2: Cosine = field(default_factory=lambda: constant(0.999))
    weight_decay: float = 0.0


class Sampler(Protocol):
    """Which rows form a batch: a pure function of the generator it is handed and of samples seen."""

    def __call__(self, samples_seen: int, batch_size: int, generator: torch.Generator) -> Int[Tensor, " n"]:
        """Return row indices."""
        ...


@dataclass(frozen=True)
class TrainingData:
    """The whole set as tensors on the device, and how batches are drawn from it."""

    x: Float[Tensor, "n *shape"]
    labels: Int[Tensor, " n"]
    sampler: Sampler
    weights: Float[Tensor, " n"] | None = None


@dataclass(frozen=True)
class Validation:
    """A held-out score (higher is better) taken every so many samples; the best weights win, patience ends training."""

    every_samples: int
    score: Callable[[Networks], float]
    patience: int


@dataclass(frozen=True)
class LoopSettings:
    """How long, how fast, how to keep."""

    total_samples: int
    batch_size: int
    seed: int
    ema_half_life_samples: float | None = None
    """None keeps no average: the weights themselves are the result."""
    ema_share: float = 0.05
    """The half-life never exceeds this share of the samples seen so far: early weights are forgotten fast."""
    checkpoint_every_samples: int | None = None
    report_every_samples: int = 5_000
    precision: torch.dtype = torch.float32


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


def train(  # noqa: C901 - one piece on purpose: cutting the loop would hide the order of events
    networks: Networks,
    phases: Sequence[Phase],
    data: TrainingData,
    settings: LoopSettings,
    *,
    checkpointer: Checkpointer | None = None,
    validation: Validation | None = None,
    hooks: Hooks | None = None,
) -> Trained:
    """Train `networks` in place and return the result to use.

    Raises:
        TrainingDivergedError: at the first loss that is not finite; names the last good checkpoint.
        CheckpointError: if a stored state belongs to other networks.
    """
    hooks = hooks or Hooks()
    device = data.x.device
    optimizers = {phase.name: _optimizer(phase, networks) for phase in phases}
    average = copy.deepcopy(dict(networks)) if settings.ema_half_life_samples is not None else None
    _set_mode(average or {}, training=False)
    progress_state = _Progress()
    if checkpointer is not None and (state := checkpointer.load_latest(device)) is not None:
        progress_state = _restore(state, networks, average, optimizers)
        logger.info("resuming at %d of %d samples", progress_state.samples_seen, settings.total_samples)
    started, micro_batch = time.monotonic(), settings.batch_size
    last_good = "none yet"

    while progress_state.samples_seen < settings.total_samples and not progress_state.out_of_patience:
        seen = progress_state.samples_seen
        _set_mode(networks, training=True)
        for phase in phases:
            rng = torch.Generator(device).manual_seed(seed_for(settings.seed, phase.name, seen))
            index = data.sampler(seen, settings.batch_size, rng).to(device)
            _set_schedule(optimizers[phase.name], phase, seen / settings.total_samples)
            _freeze_all_but(networks, phase.networks)
            try:
                values = _step(phase, networks, data, index, rng, settings, seen, micro_batch, optimizers[phase.name])
            except torch.cuda.OutOfMemoryError:
                if micro_batch < settings.batch_size or settings.batch_size < 2:
                    raise
                torch.cuda.empty_cache()
                micro_batch = math.ceil(settings.batch_size / 4)
                hooks.note(
                    f"the GPU ran out of memory at batch {settings.batch_size}; going on with micro-batches of "
                    f"{micro_batch} and accumulated gradients (same batch, slower)."
                )
                rng = torch.Generator(device).manual_seed(seed_for(settings.seed, phase.name, seen))
                data.sampler(seen, settings.batch_size, rng)
                values = _step(phase, networks, data, index, rng, settings, seen, micro_batch, optimizers[phase.name])
            if _is_due(seen, settings.batch_size, settings.report_every_samples):
                for name, value in values.items():
                    hooks.metric(f"{phase.name}/{name}", float(value), seen)
            loss = float(values["loss"])
            if not math.isfinite(loss):
                msg = (
                    f"the loss of phase '{phase.name}' became {loss} after {seen:,} samples. Last good checkpoint: "
                    f"{last_good}. Lower the learning rate or raise the penalty weight, then run the same command again."
                )
                raise TrainingDivergedError(msg)
        _freeze_all_but(networks, tuple(networks))

        progress_state.samples_seen = seen = seen + settings.batch_size
        if average is not None and settings.ema_half_life_samples is not None:
            half_life = min(settings.ema_half_life_samples, settings.ema_share * seen)
            update_ema(average, networks, ema_weight(settings.batch_size, half_life))
        result = average if average is not None else dict(networks)
        _set_mode(result, training=False)  # looking must not move a BatchNorm statistic

        if validation is not None and _is_due(seen, settings.batch_size, validation.every_samples):
            progress_state.consider(validation.score(result), result, validation.patience)
        if hooks.snapshot is not None and _is_due(seen, settings.batch_size, hooks.snapshot_every_samples):
            hooks.snapshot(result, seen)
        every = settings.checkpoint_every_samples
        if checkpointer is not None and every and _is_due(seen, settings.batch_size, every):
            last_good = str(checkpointer.save(_state(networks, average, optimizers, progress_state), seen))
        hooks.progress(min(seen, settings.total_samples), settings.total_samples)

    result = average if average is not None else dict(networks)
    if progress_state.best is not None:
        for name, weights in progress_state.best.items():
            result[name].load_state_dict(weights)
    return Trained(result, progress_state.samples_seen, time.monotonic() - started, progress_state.best_score)


@dataclass
class _Progress:
    """What the loop remembers besides weights."""

    samples_seen: int = 0
    best_score: float | None = None
    best: dict[str, dict[str, Tensor]] | None = None
    disappointments: int = 0
    out_of_patience: bool = False

    def consider(self, score: float, networks: Networks, patience: int) -> None:
        """Keep these weights if they are the best so far."""
        if self.best_score is None or score > self.best_score:
            self.best_score, self.disappointments = score, 0
            self.best = {name: _clone(module.state_dict()) for name, module in networks.items()}
        else:
            self.disappointments += 1
            self.out_of_patience = self.disappointments >= patience


def _clone(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in weights.items()}


def _is_due(samples_seen: int, batch_size: int, every: int) -> bool:
    """Tell whether a multiple of `every` lies in the last batch."""
    return every > 0 and samples_seen % every < batch_size


def _optimizer(phase: Phase, networks: Networks) -> torch.optim.Adam:
    parameters = [parameter for name in phase.networks for parameter in networks[name].parameters()]
    return torch.optim.AdamW(
        parameters,
        lr=phase.learning_rate.start,
        betas=(phase.beta1, phase.beta2.start),
        eps=1e-8,
        weight_decay=phase.weight_decay,
        fused=True,
    )


def _set_schedule(optimizer: torch.optim.Adam, phase: Phase, progress: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = phase.learning_rate.at(progress)
        group["betas"] = (phase.beta1, phase.beta2.at(progress))


def _set_mode(networks: Networks, *, training: bool) -> None:
    for module in networks.values():
        module.train(training)


def _freeze_all_but(networks: Networks, trained: tuple[str, ...]) -> None:
    for name, module in networks.items():
        module.requires_grad_(name in trained)


def _step(
    phase: Phase,
    networks: Networks,
    data: TrainingData,
    index: Int[Tensor, " n"],
    rng: torch.Generator,
    settings: LoopSettings,
    samples_seen: int,
    micro_batch: int,
    optimizer: torch.optim.Adam,
) -> dict[str, Tensor]:
    """Take one optimizer step; gradients are accumulated over micro-batches, which change nothing but memory."""
    optimizer.zero_grad(set_to_none=True)
    totals: dict[str, Tensor] = {}
    for part in torch.split(index, micro_batch):
        weights = data.weights[part] if data.weights is not None else torch.ones(len(part), device=index.device)
        batch = Batch(data.x[part], data.labels[part], weights, rng, samples_seen / settings.total_samples)
        with torch.autocast(index.device.type, settings.precision, enabled=settings.precision != torch.float32):
            loss, values = phase.loss(networks, batch)
        share = len(part) / len(index)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        for name, value in {"loss": loss, **values}.items():
            totals[name] = totals.get(name, torch.zeros((), device=index.device)) + value.detach() * share
    optimizer.step()
    return totals


def _state(
    networks: Networks, average: Networks | None, optimizers: Mapping[str, torch.optim.Adam], progress: _Progress
) -> State:
    state: dict[str, Any] = {
        "samples_seen": progress.samples_seen,
        "best_score": progress.best_score,
        "disappointments": progress.disappointments,
        "num_threads": torch.get_num_threads(),
        "best": progress.best,
        "networks": {name: module.state_dict() for name, module in networks.items()},
        "average": {name: module.state_dict() for name, module in (average or {}).items()},
        "optimizers": {name: _optimizer_state(optimizer) for name, optimizer in optimizers.items()},
    }
    return state


def _optimizer_state(optimizer: torch.optim.Adam) -> dict[str, object]:
    """Return moments by parameter position; settings are schedules and need no storing."""
    return {str(key): value for key, value in optimizer.state_dict()["state"].items()}


def _restore(
    state: State, networks: Networks, average: Networks | None, optimizers: Mapping[str, torch.optim.Adam]
) -> _Progress:
    try:
        for name, module in networks.items():
            module.load_state_dict(state["networks"][name])
        for name, module in (average or {}).items():
            module.load_state_dict(state["average"][name])
        for name, optimizer in optimizers.items():
            full = optimizer.state_dict()
            full["state"] = {int(key): value for key, value in state["optimizers"][name].items()}
            optimizer.load_state_dict(full)
    except (KeyError, RuntimeError, TypeError) as err:
        msg = (
            f"a stored training state belongs to other networks ({err}). Remove the partial stage folder to train anew."
        )
        raise CheckpointError(msg) from err
    if state["num_threads"] != torch.get_num_threads():
        logger.warning(
            "resuming with %d threads a training that ran with %s: the result is as good, but not bit-equal",
            torch.get_num_threads(),
            state["num_threads"],
        )
    return _Progress(
        samples_seen=int(state["samples_seen"]),
        best_score=state["best_score"],
        best=state["best"],
        disappointments=int(state["disappointments"]),
    )
