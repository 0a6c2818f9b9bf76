"""The samples of a training, and how batches are drawn from them."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aigc_pipeline.training.samplers import Sampler


@dataclass(frozen=True)
class TrainingData:
    """The whole set as tensors, and how batches are drawn from it. Samples may wait in main memory, labels do not."""

    x: Float[Tensor, "n *shape"]
    labels: Int[Tensor, " n"]
    sampler: Sampler
    weights: Float[Tensor, " n"] | None = None

    @property
    def device(self) -> torch.device:
        """Where training happens."""
        return self.labels.device

    def rows(self, index: Int[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        """Return samples on the training device."""
        return self.x[index.to(self.x.device)].to(self.device, non_blocking=True)
