"""A training as one storable state: all that resuming needs."""

import logging
from typing import Any

import torch

from aigc_pipeline.core.errors import CheckpointError
from aigc_pipeline.training.batch import Networks
from aigc_pipeline.training.checkpoint import State
from aigc_pipeline.training.progress import Progress
from aigc_pipeline.training.step import Stepper

logger = logging.getLogger(__name__)
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
