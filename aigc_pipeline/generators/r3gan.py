"""R3GAN (Huang et al. 2024, "The GAN is dead; long live the GAN!"): relativistic pairing loss, R1 + R2, plain networks.

The default family. Own code from the paper; the `resnext` backbone is not here yet. A relativistic critic has no zero
and a free offset per class, so its logit is provenance, never a probability: the post-hoc critic makes those.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from aigc_pipeline.core.samples import Origin, SampleSpec
from aigc_pipeline.core.strict import Member
from aigc_pipeline.generators.base import Synthesis
from aigc_pipeline.generators.blocks import (
    LiteDiscriminator,
    LiteGenerator,
    MLPDiscriminator,
    MLPGenerator,
    draw_fakes,
    sample_from_latents,
)
from aigc_pipeline.generators.diff_augment import diff_augment
from aigc_pipeline.generators.losses import (
    gradient_penalty,
    non_saturating_discriminator,
    non_saturating_generator,
    relativistic_discriminator,
    relativistic_generator,
)
from aigc_pipeline.training.loop import Batch, Networks, Phase
from aigc_pipeline.training.schedule import Cosine

_MLP_MAX_SIDE_PX = 16
_SMALL_DATA = 5_000
_DECAY_SHARE = 0.4


class R3GAN(Member):
    """Class-conditional GAN with a stable loss. Needs about 20 training samples a class."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image", "vector"})

    kind: Literal["r3gan"] = "r3gan"
    backbone: Literal["auto", "mlp", "lite"] = "auto"
    """`auto`: `mlp` for points and pictures up to 16 px, `lite` above."""
    loss: Literal["relativistic", "non_saturating"] = "relativistic"
    """Which adversarial loss; both keep R1 + R2."""
    width: int = Field(default=32, ge=8, le=256)
    """Channels of the finest convolution of `lite`."""
    batch_size: int = Field(default=64, ge=2)
    """Real samples per iteration."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Start; a cosine takes it to a fifth over the first 40 % of training."""
    gamma: float | None = Field(default=None, gt=0)
    """Weight of R1 + R2; None follows the sample size (generators, section 2.4)."""
    augment_probability: float | None = Field(default=None, ge=0, le=1)
    """Strength of differentiable augmentation; None means 0.3 below 5,000 training samples and 0 above."""
    ema_half_life_samples: float = Field(default=500_000, ge=0)
    """Memory of the averaged generator, at most 5 % of the samples seen."""

    @property
    def origin(self) -> Origin:
        """Drawn from nothing but a seed."""
        return "generated"

    def networks(self, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
        """Return `generator` and `discriminator`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self._backbone(spec) == "mlp":
                return {
                    "generator": MLPGenerator(spec.shape, num_classes),
                    "discriminator": MLPDiscriminator(spec.shape, num_classes),
                }
            return {
                "generator": LiteGenerator(spec.shape, num_classes, self.width),
                "discriminator": LiteDiscriminator(spec.shape, num_classes, self.width),
            }

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return one discriminator and one generator step."""
        objective = _Objective(self.loss, self._gamma(spec, num_train), self._augmentation(num_train))
        rate = Cosine(self.learning_rate, self.learning_rate / 5, _DECAY_SHARE)
        beta2 = Cosine(0.9, 0.99, _DECAY_SHARE)
        return [
            Phase("discriminator", ("discriminator",), objective.discriminator, rate, 0.0, beta2),
            Phase("generator", ("generator",), objective.generator, rate, 0.0, beta2),
        ]

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
        del spec, parents  # a GAN needs neither
        return sample_from_latents(networks, seeds, labels)

    def d_logit(
        self, networks: Networks, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"] | None:
        """Return the critic's logits."""
        logits: Tensor = networks["discriminator"](x, labels)
        return logits

    def _backbone(self, spec: SampleSpec) -> str:
        if self.backbone != "auto":
            return self.backbone
        return "mlp" if len(spec.shape) == 1 or max(spec.shape[1:]) <= _MLP_MAX_SIDE_PX else "lite"

    def _gamma(self, spec: SampleSpec, num_train: int) -> Cosine:
        """0.05 at 32 px, growing with side ** 3.1; falling to a tenth, but rising eightfold on small data."""
        side = math.sqrt(math.prod(spec.shape[1:])) if len(spec.shape) > 1 else 32
        start = self.gamma if self.gamma is not None else 0.05 * (side / 32) ** 3.1
        return Cosine(start, start * 8 if num_train < _SMALL_DATA else start / 10, _DECAY_SHARE)

    def _augmentation(self, num_train: int) -> float:
        if self.augment_probability is not None:
            return self.augment_probability
        return 0.3 if num_train < _SMALL_DATA else 0.0


class _Objective:
    """Both losses of one iteration. Real and fake of a pair share the class, so per-class offsets of D cancel."""

    def __init__(self, loss: str, gamma: Cosine, augment_probability: float) -> None:
        self.relativistic = loss == "relativistic"
        self.gamma = gamma
        self.p = augment_probability

    def discriminator(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Adversarial loss plus gamma/2 (R1 + R2), the penalty on the samples before augmentation."""
        with torch.no_grad():
            fake = draw_fakes(networks, batch)
        real, fake = batch.x.detach().requires_grad_(), fake.float().requires_grad_()
        real_logit = networks["discriminator"](diff_augment(real, self.p, batch.rng), batch.labels)
        fake_logit = networks["discriminator"](diff_augment(fake, self.p, batch.rng), batch.labels)
        loss_of = relativistic_discriminator if self.relativistic else non_saturating_discriminator
        penalty = gradient_penalty(real, real_logit) + gradient_penalty(fake, fake_logit)
        loss = loss_of(real_logit, fake_logit) + self.gamma.at(batch.progress) / 2 * penalty
        return loss, {"penalty": penalty, "logit_gap": (real_logit - fake_logit).mean()}

    def generator(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Adversarial loss of fresh fakes; the relativistic one pairs them with a fresh real batch."""
        fake_logit = networks["discriminator"](
            diff_augment(draw_fakes(networks, batch), self.p, batch.rng), batch.labels
        )
        if not self.relativistic:
            return non_saturating_generator(fake_logit), {}
        real_logit = networks["discriminator"](diff_augment(batch.x, self.p, batch.rng), batch.labels)
        return relativistic_generator(real_logit, fake_logit), {}
