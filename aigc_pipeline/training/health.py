"""Signs that a training is going wrong, read off its own numbers. Who asks decides what to do; the loop goes back or stops."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from aigc_pipeline.training.step import Networks

Report = Mapping[str, float]


class Watch(Protocol):
    """Judges a training at every report."""

    def __call__(self, networks: Networks, history: Sequence[Report], progress: float) -> str | None:
        """Return what is wrong, in words that can begin a sentence; None where nothing is.

        Args:
            networks: the result so far (the averaged networks), ready for inference.
            history: the last reports, the newest last.
            progress: share of training done.
        """
        ...
