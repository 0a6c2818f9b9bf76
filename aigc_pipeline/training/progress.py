"""What a training remembers besides weights and optimizers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from aigc_pipeline.training.batch import Networks

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
