"""What a generator family is: networks, phases that train them, and samples that depend on their own seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from jaxtyping import Float, Int
from pydantic import PrivateAttr
from torch import Tensor, nn

from aigc_pipeline.core.samples import Origin, SampleSpec
from aigc_pipeline.core.strict import Member
from aigc_pipeline.training.loop import Networks, Phase, Sampler
from aigc_pipeline.training.samplers import ClassPower

LATENT_SIZE = 64
"""Dimensions of a GAN's latent."""


@dataclass(frozen=True)
class Synthesis:
    """A chunk of samples in the networks' range, and what was done to the parents where there were any."""

    x: Float[Tensor, "n *shape"]
    transforms: list[str] | None = None
    """JSON of each sample's variation."""


class Generator(Protocol):
    """A member of `AnyGenerator`: frozen settings with pure verbs. The loop knows its phases, never its name."""

    @property
    def handles(self) -> frozenset[str] | None:
        """The modalities that it can look inside; None for any."""
        ...

    def can_handle(self, modality: str) -> bool:
        """Tell whether it accepts samples of `modality`."""
        ...

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """Return the settings."""
        ...

    @property
    def paper(self) -> str:
        """Where the method comes from."""
        ...

    @property
    def choose_when(self) -> str:
        """When to choose this family, in one sentence."""
        ...

    @property
    def kind(self) -> str:
        """The word that picks this member in a config."""
        ...

    @property
    def origin(self) -> Origin:
        """`generated`, or `classic` for hand-written variation of a real parent."""
        ...

    @property
    def uses_parents(self) -> bool:
        """True where each sample starts from a real parent of its class, which its row then names."""
        ...

    @property
    def is_trained(self) -> bool:
        """True where its networks learn from the training split."""
        ...

    @property
    def samples_side_by_side(self) -> bool:
        """True where several threads may call `sample` at once, and gain: it keeps no state, and its passes are small."""
        ...

    @property
    def adapts_augmentation(self) -> bool:
        """True where the losses follow the loop's adaptive strength of augmentation; asks for a discriminator."""
        ...

    @property
    def batch_size(self) -> int:
        """Real samples per step."""
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

    def sampler(self, labels: Int[Tensor, " n"]) -> Sampler:
        """Return how training rows are drawn into batches."""
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


class Family(Member):
    """What most families have in common; a member overrides what it does differently."""

    paper: ClassVar[str]
    choose_when: ClassVar[str]
    uses_parents: ClassVar[bool] = False
    """Samples come from nothing but a seed and a label."""
    is_trained: ClassVar[bool] = True
    """Its networks learn from the training split; False for a family without networks, or with finished ones."""

    @property
    def origin(self) -> Origin:
        """Return `generated`."""
        return "generated"

    @property
    def adapts_augmentation(self) -> bool:
        """Return False."""
        return False

    @property
    def samples_side_by_side(self) -> bool:
        """Return False; a family whose `sample` keeps no state gains by saying True."""
        return False

    def sampler(self, labels: Int[Tensor, " n"]) -> Sampler:
        """Draw class k with a share proportional to the root of its size, so that rare classes are seen."""
        return ClassPower(labels, 0.5)

    def d_logit(
        self, networks: Networks, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"] | None:
        """Return None: there is no discriminator."""
        del networks, x, labels
        return None


class LatentFamily(Family):
    """A family whose sample is a function of one standard normal latent and a label: it can be exported and interpolated."""

    decoder: ClassVar[str] = "generator"
    """The network that makes samples."""
    _truncation: float = PrivateAttr(1.0)

    @property
    def samples_side_by_side(self) -> bool:
        """Return True."""
        return True

    def num_latents(self, spec: SampleSpec) -> int:
        """Return the latent's dimensions."""
        del spec
        return LATENT_SIZE

    def truncated(self, psi: float) -> Self:
        """Return the same family with latents multiplied by `psi`: below 1, fewer outliers and less diversity.

        The simple form of the truncation trick (Brock et al. 2019, section 3.1, resample instead of scaling).
        """
        family = self.model_copy()
        family._truncation = psi  # noqa: SLF001 - its own class
        return family

    def decode(
        self, networks: Networks, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        """Return one sample per latent."""
        x: Tensor = networks[self.decoder](z, labels)
        return x

    def sample(
        self,
        networks: Networks,
        seeds: Sequence[int],
        labels: Int[Tensor, " n"],
        *,
        spec: SampleSpec,
        parents: Float[Tensor, "n *shape"] | None = None,
    ) -> Synthesis:
        """Return one sample per seed."""
        del parents
        z = self._truncation * latents(seeds, self.num_latents(spec), labels.device)
        return Synthesis(self.decode(networks, z, labels))


def latents(seeds: Sequence[int], size: int, device: torch.device) -> Float[Tensor, "n size"]:
    """Return standard normal latents, row i drawn from `seeds[i]` alone."""
    generator, rows = torch.Generator(), torch.empty(len(seeds), size)
    for row, seed in zip(rows, seeds, strict=True):
        row.normal_(generator=generator.manual_seed(seed))
    return rows.to(device)
