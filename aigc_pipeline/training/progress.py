"""What a training remembers besides weights, and the whole of it as one storable state."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from aigc_pipeline.core.errors import CheckpointError
from aigc_pipeline.training.checkpoint import State
from aigc_pipeline.training.step import Networks, Stepper

logger = logging.getLogger(__name__)
_WINDOWS = 12
"""Reports that are remembered: what health is judged on."""
_RATE_AFTER_ROLLBACK = 0.5


@dataclass
class Progress:
    """Where a training stands."""

    samples_seen: int = 0
    strength: float = 0.0
    """Probability of adaptive augmentation."""
    overfitting: float = 0.0
    """What adaptation measured last."""
    best_score: float | None = None
    best_samples_seen: int = 0
    best: dict[str, dict[str, Tensor]] | None = None
    disappointments: int = 0
    stopped: bool = False
    rollbacks: int = 0
    returned_to: int | None = None
    """Samples seen by the state that the last rollback brought back."""
    history: list[dict[str, float]] = field(default_factory=list)
    """The numbers of the last reports, oldest first."""
    events: list[str] = field(default_factory=list)

    @property
    def rate_factor(self) -> float:
        """What the learning rate is multiplied by: halved at each rollback."""
        return _RATE_AFTER_ROLLBACK**self.rollbacks

    def remember(self, numbers: Mapping[str, float]) -> None:
        """Add a report."""
        self.history = [*self.history, dict(numbers)][-_WINDOWS:]

    def consider(self, score: float, networks: Networks, patience: int) -> None:
        """Keep these weights if they are the best so far; out of patience, stop."""
        if self.best_score is None or score > self.best_score:
            self.best_score, self.disappointments, self.best_samples_seen = score, 0, self.samples_seen
            self.best = {
                name: {key: value.detach().clone() for key, value in module.state_dict().items()}
                for name, module in networks.items()
            }
        else:
            self.disappointments += 1
            self.stopped = self.disappointments >= patience


_SCALARS = (
    "samples_seen",
    "strength",
    "overfitting",
    "best_score",
    "best_samples_seen",
    "disappointments",
    "stopped",
    "rollbacks",
    "returned_to",
)


def pack(networks: Networks, average: Networks | None, stepper: Stepper, progress: Progress) -> State:
    """Return everything that resuming needs."""
    state: dict[str, Any] = {name: getattr(progress, name) for name in _SCALARS}
    return state | {
        "num_threads": torch.get_num_threads(),
        "best": progress.best,
        "history": progress.history,
        "events": progress.events,
        "networks": {name: module.state_dict() for name, module in networks.items()},
        "average": {name: module.state_dict() for name, module in (average or {}).items()},
        "optimizers": stepper.state(),
    }


def unpack(state: State, networks: Networks, average: Networks | None, stepper: Stepper) -> Progress:
    """Put a stored state back.

    Raises:
        CheckpointError: if it belongs to other networks.
    """
    try:
        for name, module in networks.items():
            module.load_state_dict(state["networks"][name])
        for name, module in (average or {}).items():
            module.load_state_dict(state["average"][name])
        stepper.load(state["optimizers"])
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
    return Progress(
        **{name: state[name] for name in _SCALARS},
        best=state["best"],
        history=list(state["history"]),
        events=list(state["events"]),
    )
