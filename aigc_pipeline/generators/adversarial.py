"""Two players: the losses of one iteration, for every family with a discriminator.

Real and fake of a pair share the class. The penalty is taken at what D sees, after augmentation. By default its gradient
is an explicit forward pass (`logit_and_gradient`), so one ordinary backward suffices and the whole step compiles; the
other way, `autograd`, differentiates twice, works for any network and is what tests compare with.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from aigc_pipeline.generators.backbones.parts import LATENT_SIZE
from aigc_pipeline.generators.base import LatentFamily
from aigc_pipeline.generators.diff_augment import diff_augment
from aigc_pipeline.generators.losses import AdversarialLoss, gradient_penalty, squared_norm
from aigc_pipeline.training.batch import Batch
from aigc_pipeline.training.loop import Networks, Phase
from aigc_pipeline.training.schedule import Cosine

PenaltyMode = Literal["adjoint", "autograd"]
Values = dict[str, Tensor]


@dataclass(frozen=True)
class ZeroCentered:
    """gamma/2 (R1 + R2): mean squared gradient of D at reals and at fakes (Huang et al. 2024, Eq. 3)."""

    gamma: Cosine
    mode: PenaltyMode = "adjoint"


@dataclass(frozen=True)
class Objective:
    """The losses of both players."""

    loss: AdversarialLoss
    penalty: ZeroCentered | None = None
    augment_probability: float | None = 0.0
    """Strength of differentiable augmentation of everything D sees; None follows the loop's adaptive strength."""

    def discriminator(self, networks: Networks, batch: Batch) -> tuple[Tensor, Values]:
        """Return D's loss with its penalty."""
        with torch.no_grad():
            fake = draw_fakes(networks, batch)
        real, fake = self._augment(batch.x, batch), self._augment(fake.float(), batch)
        if self.penalty is None:
            real_logit, fake_logit = (networks["discriminator"](x, batch.labels) for x in (real, fake))
            penalty = real_logit.new_zeros(())
        else:
            measure = _explicit if self.penalty.mode == "adjoint" else _differentiated
            (real_logit, r1), (fake_logit, r2) = (measure(networks, x, batch.labels) for x in (real, fake))
            penalty = self.penalty.gamma.at(batch.progress) / 2 * (r1 + r2)
        loss = self.loss.discriminator(real_logit.float(), fake_logit.float()) + penalty
        return loss, {"penalty": penalty, "logit_gap": (real_logit - fake_logit).mean()}

    def generator(self, networks: Networks, batch: Batch) -> tuple[Tensor, Values]:
        """Return G's loss on fresh fakes; a loss that pairs compares them with a fresh real batch."""
        fake_logit = networks["discriminator"](self._augment(draw_fakes(networks, batch), batch), batch.labels)
        if not self.loss.pairs:
            return self.loss.generator(None, fake_logit.float()), {}
        real_logit = networks["discriminator"](self._augment(batch.x, batch), batch.labels)
        return self.loss.generator(real_logit.float(), fake_logit.float()), {}

    def _augment(self, x: Tensor, batch: Batch) -> Tensor:
        fixed = self.augment_probability
        return diff_augment(x, batch.strength if fixed is None else fixed, batch.draws)


class AdversarialFamily(LatentFamily):
    """A family with `generator` and `discriminator`."""

    def d_logit(
        self, networks: Networks, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, " n"] | None:
        """Return the discriminator's logits; a relativistic or Wasserstein one's have no zero."""
        logits: Tensor = networks["discriminator"](x, labels)
        return logits


def players(objective: Objective, rate: Cosine, *, beta1: float, beta2: Cosine) -> list[Phase]:
    """Return one discriminator and one generator step, with the same optimizer settings."""
    return [
        Phase("discriminator", ("discriminator",), objective.discriminator, rate, beta1, beta2),
        Phase("generator", ("generator",), objective.generator, rate, beta1, beta2),
    ]


def draw_fakes(networks: Networks, batch: Batch) -> Float[Tensor, "n *shape"]:
    """Return one fresh fake per row of the batch, of the same class."""
    fake: Tensor = networks["generator"](batch.draws.normal(LATENT_SIZE), batch.labels)
    return fake


def _explicit(networks: Networks, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits and the mean squared gradient, by the explicit pass in float32."""
    with torch.autocast(x.device.type, enabled=False):
        logit, gradient = networks["discriminator"].logit_and_gradient(x.float(), labels)  # type: ignore[operator]
    return logit, squared_norm(gradient)


def _differentiated(networks: Networks, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits and the mean squared gradient, by differentiating twice: in float32, and never compiled."""
    x = x.detach().float().requires_grad_()
    with torch.autocast(x.device.type, enabled=False), torch.compiler.set_stance("force_eager"):
        logit = networks["discriminator"](x, labels)
        return logit, gradient_penalty(x, logit)
