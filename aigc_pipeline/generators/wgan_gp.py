"""WGAN-GP (Gulrajani et al. 2017): the Wasserstein distance by a critic whose gradient is held near length 1.

The penalty is two-sided and taken between real and fake samples of one class. Its gradient is an explicit forward pass
(`backbones.parts`), so the critic's step needs no second derivative.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.generators.adversarial import AdversarialFamily, Objective, Values, draw_fakes
from aigc_pipeline.generators.backbones import Backbone, Size, build_pair
from aigc_pipeline.generators.losses import LOSSES
from aigc_pipeline.training.batch import Batch
from aigc_pipeline.training.loop import Networks, Phase
from aigc_pipeline.training.schedule import Cosine, constant

_PICTURE_AXES = 3
_PICTURE_WEIGHT, _POINT_WEIGHT = 10.0, 1.0
_TINY = 1e-12
"""Added to squared lengths: a root has no slope at zero."""


class WGANGP(AdversarialFamily):
    """Class-conditional Wasserstein GAN with a gradient penalty."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image", "vector"})
    paper: ClassVar[str] = 'Gulrajani et al. 2017, "Improved training of Wasserstein GANs"'
    choose_when: ClassVar[str] = (
        "a critic whose loss is a distance that can be read; several critic steps per generator step make it slower."
    )

    kind: Literal["wgan_gp"] = "wgan_gp"
    backbone: Backbone = "auto"
    """`auto`: `mlp` for points and pictures up to 16 px, `lite` above."""
    size: Size = "small"
    """How wide the networks are."""
    penalty_weight: float | None = Field(default=None, gt=0)
    """Lambda of the paper's Eq. 3. None means the paper's 10 for pictures and 1 for points: there 10 left two
    to nine times the distance to the truth (three Gaussians, 300,000 samples)."""
    critic_steps: int = Field(default=5, ge=1)
    """Critic steps per generator step, each on real samples of its own."""
    batch_size: int = Field(default=64, ge=2)
    """Real samples per critic step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's at the start, for both networks; a cosine takes it to a twentieth. In a minute on 8 px digits, the paper's
    1e-4 (Algorithm 1) ended at 94.0 % train-on-synthetic accuracy, this at 96.5 %."""
    ema_half_life_samples: float = Field(default=50_000, ge=0)
    """Memory of the averaged generator, at most 5 % of the samples seen."""

    @property
    def samples_side_by_side(self) -> bool:
        """False for `resnext`: its large blocks are fetched anew in every thread, and two chunks at once are slower."""
        return self.backbone != "resnext"

    def networks(self, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
        """Return `generator` and `discriminator`, the critic."""
        return build_pair(self.backbone, self.size, spec, num_classes, seed)

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return the critic's steps and one generator step."""
        del num_train
        weight = self.penalty_weight or (_PICTURE_WEIGHT if len(spec.shape) == _PICTURE_AXES else _POINT_WEIGHT)
        critic, generator = CriticObjective(weight), Objective(LOSSES["wasserstein"])
        rate, beta2 = Cosine(self.learning_rate, self.learning_rate / 20), constant(0.9)
        return [
            Phase("discriminator", ("discriminator",), critic, rate, 0.0, beta2, repeats=self.critic_steps),
            Phase("generator", ("generator",), generator.generator, rate, 0.0, beta2),
        ]


@dataclass(frozen=True)
class CriticObjective:
    """The critic's loss (Eq. 3): mean D(fake) - mean D(real) + lambda (|grad D| - 1)^2."""

    penalty_weight: float

    def __call__(self, networks: Networks, batch: Batch) -> tuple[Tensor, Values]:
        """Return the loss, its penalty and the estimated distance."""
        with torch.no_grad():
            fake = draw_fakes(networks, batch).float()
        critic = networks["discriminator"]
        real_value, fake_value = (critic(x, batch.labels).float() for x in (batch.x, fake))
        share = batch.draws.uniform(*[1] * (fake.ndim - 1))
        with torch.autocast(fake.device.type, enabled=False):
            between = torch.lerp(fake, batch.x.float(), share)
            _, gradient = critic.logit_and_gradient(between, batch.labels)  # type: ignore[operator]
        penalty = self.penalty_weight * unit_length_penalty(gradient)
        loss = LOSSES["wasserstein"].discriminator(real_value, fake_value) + penalty
        return loss, {"penalty": penalty, "distance": (real_value - fake_value).mean()}


def unit_length_penalty(gradient: Float[Tensor, "n *shape"]) -> Float[Tensor, ""]:
    """Return mean (|gradient| - 1)^2 over the batch: two-sided, as in section 4 of the paper."""
    length = (gradient.float().square().flatten(1).sum(1) + _TINY).sqrt()
    return (length - 1).square().mean()
