"""What a generator family is: networks, phases that train them, and samples that depend on their own seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aigc_pipeline.core.samples import Origin, SampleSpec
from aigc_pipeline.training.loop import Networks, Phase


@dataclass(frozen=True)
class Synthesis:
    """A chunk of samples in the networks' range, and what was done to the parents where there were any."""

    x: Float[Tensor, "n *shape"]
    transforms: list[str] | None = None
    """JSON of each sample's variation."""


class Generator(Protocol):
    """A member of `AnyGenerator`: frozen settings with pure verbs. The loop knows its phases, never its name."""

    @property
    def kind(self) -> str:
        """The word that picks this member in a config."""
        ...

    @property
    def origin(self) -> Origin:
        """`generated`, or `classic` for members that vary a real parent."""
        ...

    @property
    def batch_size(self) -> int:
        """Real samples per iteration."""
        ...

    @property
    def ema_half_life_samples(self) -> float:
        """Memory of the averaged generator."""
        ...

    def networks(self, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
        """Return freshly initialized networks; empty for a family without training."""
        ...

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return the phases of one iteration, in order; empty for a family without training."""
        ...

    def sample(
        self,
        networks: Networks,
        seeds: Sequence[int],
        labels: Int[Tensor, " n"],
        *,
        spec: SampleSpec,
        parents: Float[Tensor, "n *shape"] | None = None,
    ) -> Synthesis:
        """Return one sample per seed. Sample i depends on `seeds[i]`, `labels[i]` and `parents[i]` alone."""
        ...

    def d_logit(
        self, networks: Networks, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"] | None:
        """Return the discriminator's logits, or None for a family without one."""
        ...


def latents(seeds: Sequence[int], size: int, device: torch.device) -> Float[Tensor, "n size"]:
    """Return standard normal latents, row i drawn from `seeds[i]` alone."""
    rows = [torch.randn(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows).to(device)
