"""Schedules over training progress in [0, 1], so that they survive a change of batch size."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cosine:
    """Go from `start` to `end` along a half cosine during the first `decay_share` of training, then stay."""

    start: float
    end: float
    decay_share: float = 1.0

    def at(self, progress: float) -> float:
        """Return the value at `progress`, a share of the total in [0, 1]."""
        share = min(progress / self.decay_share, 1.0)
        return self.end + (self.start - self.end) * 0.5 * (1 + math.cos(math.pi * share))


def constant(value: float) -> Cosine:
    """Return a schedule that never moves."""
    return Cosine(value, value)
