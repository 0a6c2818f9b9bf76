"""Signs that a training is going wrong, read off its own numbers. Who asks decides what to do; the loop goes back or stops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aigc_pipeline.training.batch import Networks

Report = Mapping[str, float]


@dataclass(frozen=True)
class Finding:
    """What a look at a training found."""

    alarm: str | None = None
    """What is wrong, in words that can begin a sentence."""
    numbers: Report = field(default_factory=dict)
    """What was measured, for the curves."""


class Watch(Protocol):
    """Judges a training at every report."""

    def __call__(self, networks: Networks, history: Sequence[Report], progress: float) -> Finding:
        """Return what is measured and what is wrong.

        Args:
            networks: the result so far (the averaged networks), ready for inference.
            history: the last reports, the newest last; what was found in earlier ones is among their numbers.
            progress: share of training done.
        """
        ...
