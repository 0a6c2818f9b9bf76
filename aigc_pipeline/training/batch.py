"""What a loss is given: the networks, real samples, and random numbers that do not depend on how the batch is cut.

A batch may be worked through in parts: micro-batches on a small GPU, shares of several processes. Every part draws for
the whole batch and keeps its own rows, so the parts together see exactly what the whole would have seen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

Networks = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Draws:
    """Random numbers for the rows of one part of a batch."""

    generator: torch.Generator
    num_rows: int
    """Rows of the whole batch."""
    part: slice
    """The rows of this part."""

    def normal(self, *shape: int) -> Float[Tensor, "n *shape"]:
        """Return standard normal numbers, `shape` of them per row."""
        return torch.randn(self.num_rows, *shape, generator=self.generator, device=self.generator.device)[self.part]

    def uniform(self, *shape: int) -> Float[Tensor, "n *shape"]:
        """Return numbers from [0, 1), `shape` of them per row."""
        return torch.rand(self.num_rows, *shape, generator=self.generator, device=self.generator.device)[self.part]

    def integers(self, low: int, high: int) -> Int[Tensor, " n"]:
        """Return one whole number from `low` to `high - 1` per row."""
        drawn = torch.randint(low, high, (self.num_rows,), generator=self.generator, device=self.generator.device)
        return drawn[self.part]

    def of(self, draw: Callable[[int, torch.Generator], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return what `draw` makes of (number of rows, generator), cut to this part's rows."""
        return {name: values[self.part] for name, values in draw(self.num_rows, self.generator).items()}


@dataclass(frozen=True)
class Batch:
    """Real samples of one part of a batch, and whatever else a loss needs to draw."""

    x: Float[Tensor, "n *shape"]
    labels: Int[Tensor, " n"]
    weights: Float[Tensor, " n"]
    draws: Draws
    progress: float
    """Share of training done, in [0, 1)."""
    strength: float = 0.0
    """Probability of adaptive augmentation, in [0, 1]; 0 where nothing adapts it."""
