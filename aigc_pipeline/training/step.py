"""One iteration: every phase takes its optimizer steps. Micro-batches and processes change memory and time, not the result.

That holds for losses that are means over rows (or pairs of rows); a BatchNorm sees the rows of its part alone.
"""

import math
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from aigc_pipeline.core.errors import ConfigError
from aigc_pipeline.core.seeding import seed_for
from aigc_pipeline.training.batch import Batch, Draws, Networks
from aigc_pipeline.training.data import TrainingData
from aigc_pipeline.training.progress import Progress
from aigc_pipeline.training.schedule import Cosine, constant
from aigc_pipeline.training.team import Team

Loss = Callable[[Networks, Batch], tuple[Tensor, dict[str, Tensor]]]
_MICRO_BATCHES = 4
_SMALLEST_PART = 2
"""Rows: a pair stays together."""


@dataclass(frozen=True)
class Phase:
    """One player's move in an iteration: which networks go down which loss."""

    name: str
    networks: tuple[str, ...]
    loss: Loss
    learning_rate: Cosine
    beta1: float = 0.9
    beta2: Cosine = field(default_factory=lambda: constant(0.999))
    weight_decay: float = 0.0
    repeats: int = 1
    """Steps per iteration, each on samples of its own."""


@dataclass(frozen=True)
class LoopSettings:
    """How long, how fast, how to keep."""

    total_samples: int
    batch_size: int
    seed: int
    ema_half_life_samples: float | None = None
    """At most 5 % of the samples seen so far; None keeps no average: the weights themselves are the result."""
    checkpoint_every_samples: int | None = None
    report_every_samples: int = 5_000
    precision: torch.dtype = torch.float32
    """Of the networks' passes; weights, optimizer and penalties stay in float32. float16 scales its gradients."""
    frozen: tuple[str, ...] = ()
    """Beginnings of parameter names (`generator.embed`) that never move."""
    max_rollbacks: int = 4
    """How often an alarm brings the last good checkpoint back."""
    remedy: str = "Lower its learning rate"
    """What to do where training diverges all the same; the loop does not know how its settings are called."""


class Stepper:
    """Networks, optimizers and data of one training."""

    def __init__(
        self,
        networks: Networks,
        phases: Sequence[Phase],
        data: TrainingData,
        settings: LoopSettings,
        team: Team,
        note: Callable[[str], None],
    ) -> None:
        self.networks, self.phases, self.data, self.settings, self.team = networks, phases, data, settings, team
        self.note = note
        self.device = data.device
        share = team.share(settings.batch_size)
        self.num_own_rows = self.micro_batch = share.stop - share.start
        self.samples_per_iteration = settings.batch_size * max((phase.repeats for phase in phases), default=1)
        self._parameters = {phase.name: self._moved_by(phase) for phase in phases}
        self._optimizers = {phase.name: _optimizer(phase, self._parameters[phase.name]) for phase in phases}
        is_half = settings.precision == torch.float16
        self._scalers = {phase.name: torch.amp.GradScaler(self.device.type, enabled=is_half) for phase in phases}

    def iterate(self, progress: Progress) -> dict[str, Tensor]:
        """Let every phase step; return its values under `<phase>/<name>`."""
        set_mode(self.networks, training=True)
        found: dict[str, Tensor] = {}
        for phase in self.phases:
            self._let_move(self._parameters[phase.name])
            for repeat in range(phase.repeats):
                values = self._with_enough_memory(phase, repeat, progress)
            found |= {f"{phase.name}/{name}": value for name, value in values.items()}
        self._let_move([parameter for module in self.networks.values() for parameter in module.parameters()])
        return found

    def memory(self) -> dict[str, float]:
        """Return the largest memory so far, in bytes."""
        if self.device.type == "cuda":
            return {"gpu_memory_bytes": float(torch.cuda.max_memory_allocated(self.device))}
        return {"memory_bytes": 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}

    def state(self) -> dict[str, object]:
        """Return moments by parameter position, and gradient scales; settings are schedules and need no storing."""
        return {
            name: {
                "moments": {str(key): value for key, value in optimizer.state_dict()["state"].items()},
                "scaler": self._scalers[name].state_dict(),
            }
            for name, optimizer in self._optimizers.items()
        }

    def load(self, state: Mapping[str, Mapping[str, Mapping[str, object]]]) -> None:
        """Put stored moments and scales back."""
        for name, optimizer in self._optimizers.items():
            full = optimizer.state_dict()
            full["state"] = {int(key): value for key, value in state[name]["moments"].items()}
            optimizer.load_state_dict(full)
            _lay_out_like_parameters(optimizer)
            if state[name]["scaler"]:  # a training in another precision stored none
                self._scalers[name].load_state_dict(dict(state[name]["scaler"]))

    def _with_enough_memory(self, phase: Phase, repeat: int, progress: Progress) -> dict[str, Tensor]:
        try:
            return self._step(phase, repeat, progress)
        except torch.cuda.OutOfMemoryError:
            if self.micro_batch < self.num_own_rows or self.num_own_rows <= _SMALLEST_PART:
                raise
        torch.cuda.empty_cache()
        self.micro_batch = max(math.ceil(self.num_own_rows / _MICRO_BATCHES), _SMALLEST_PART)
        self.note(
            f"the GPU ran out of memory at {self.num_own_rows} samples a step; going on with micro-batches of "
            f"{self.micro_batch} and accumulated gradients (same batch, slower)."
        )
        return self._step(phase, repeat, progress)

    def _step(self, phase: Phase, repeat: int, progress: Progress) -> dict[str, Tensor]:
        settings, optimizer, scaler = self.settings, self._optimizers[phase.name], self._scalers[phase.name]
        parameters = self._parameters[phase.name]
        _set_schedule(optimizer, phase, progress.samples_seen / settings.total_samples, progress.rate_factor)
        optimizer.zero_grad(set_to_none=True)
        totals: dict[str, Tensor] = {}
        for part in self.team.parts(settings.batch_size, self.micro_batch):
            batch = self._batch(phase, repeat, progress, part)
            with torch.autocast(self.device.type, settings.precision, enabled=settings.precision != torch.float32):
                loss, values = phase.loss(self.networks, batch)
            share = len(batch.x) / settings.batch_size
            scaler.scale(loss * share).backward()  # type: ignore[no-untyped-call]
            for name, value in {"loss": loss, **values}.items():
                totals[name] = totals.get(name, torch.zeros((), device=self.device)) + value.detach().float() * share
        self.team.add_up([parameter.grad for parameter in parameters if parameter.grad is not None])
        self.team.add_up(list(totals.values()))
        scaler.unscale_(optimizer)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        totals["gradient_norm"] = torch.nn.utils.get_total_norm(gradients)
        scaler.step(optimizer)
        scaler.update()
        return totals

    def _batch(self, phase: Phase, repeat: int, progress: Progress, part: slice) -> Batch:
        """Draw the whole batch and keep this part of it: every part sees the same draws."""
        again = (repeat,) if repeat else ()
        after = ("rollback", progress.rollbacks) if progress.rollbacks else ()
        seed = seed_for(self.settings.seed, phase.name, progress.samples_seen, *again, *after)
        rng = torch.Generator(self.device).manual_seed(seed)
        size = self.settings.batch_size
        index = self.data.sampler(progress.samples_seen, size, rng).to(self.device)[part]
        weights = self.data.weights
        return Batch(
            self.data.rows(index),
            self.data.labels[index],
            weights[index] if weights is not None else torch.ones(len(index), device=self.device),
            Draws(rng, size, part),
            progress.samples_seen / self.settings.total_samples,
            progress.strength,
        )

    def _moved_by(self, phase: Phase) -> list[nn.Parameter]:
        """Return the parameters of a phase that are not frozen.

        Raises:
            ConfigError: if all are.
        """
        moving = [
            parameter
            for name in phase.networks
            for key, parameter in self.networks[name].named_parameters()
            if not f"{name}.{key}".startswith(self.settings.frozen or ("\0",))
        ]
        if not moving:
            msg = (
                f"train.warm_start.frozen is {list(self.settings.frozen)}: that leaves phase '{phase.name}' nothing to "
                f"train, since it moves {' and '.join(phase.networks)} alone. Freeze parts of these instead."
            )
            raise ConfigError(msg)
        return moving

    def _let_move(self, parameters: Sequence[nn.Parameter]) -> None:
        moving = {id(parameter) for parameter in parameters}
        for module in self.networks.values():
            for parameter in module.parameters():
                parameter.requires_grad_(id(parameter) in moving)


def set_mode(networks: Networks, *, training: bool) -> None:
    """Switch all networks to training or to inference."""
    for module in networks.values():
        module.train(training)


def _optimizer(phase: Phase, parameters: Sequence[nn.Parameter]) -> torch.optim.AdamW:
    return torch.optim.AdamW(
        parameters,
        lr=phase.learning_rate.start,
        betas=(phase.beta1, phase.beta2.start),
        eps=1e-8,
        weight_decay=phase.weight_decay,
        fused=True,
    )


def _lay_out_like_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give stored moments the memory layout of their parameters: fused kernels walk both in memory order."""
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)


def _set_schedule(optimizer: torch.optim.Optimizer, phase: Phase, progress: float, rate_factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = phase.learning_rate.at(progress) * rate_factor
        group["betas"] = (phase.beta1, phase.beta2.at(progress))
