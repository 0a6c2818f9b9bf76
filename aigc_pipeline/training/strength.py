"""Adaptive augmentation (Karras et al. 2020, "Training generative adversarial networks with limited data").

Their sign heuristic needs a zero that a relativistic critic does not have; their Eq. 1 needs none: how far held-out
samples have moved from training samples towards fakes, in D's eyes. 0: no overfitting, 1: D knows its samples by heart.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from aigc_pipeline.training.batch import Networks

_SMALLEST_SPAN = 1e-6
_LOW, _HIGH = 0.3, 0.6
_LARGEST = 0.8


@dataclass(frozen=True)
class Adaptation:
    """How the strength of augmentation follows the measured overfitting."""

    signal: Callable[[Networks], float]
    every_samples: int
    horizon_samples: float
    """Samples over which the strength could go from 0 to 1."""
    start: float = 0.0

    def next(self, strength: float, signal: float) -> float:
        """Return the strength to go on with: up above a signal of 0.6, down below 0.3, else the same; within [0, 0.8]."""
        step = self.every_samples / self.horizon_samples
        change = step if signal > _HIGH else -step if signal < _LOW else 0.0
        return min(max(strength + change, 0.0), _LARGEST)


def overfitting(train: Float[Tensor, " n"], held_out: Float[Tensor, " m"], fake: Float[Tensor, " k"]) -> float:
    """Return r_v = (E[D(train)] - E[D(held out)]) / (E[D(train)] - E[D(fake)]) (Eq. 1), clipped to [0, 1]."""
    span = float(train.mean() - fake.mean())
    if span < _SMALLEST_SPAN:
        return 0.0
    return min(max(float(train.mean() - held_out.mean()) / span, 0.0), 1.0)
