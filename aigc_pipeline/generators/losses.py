"""Adversarial losses on logits and the gradient penalty. All return means over the batch."""

import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float
from torch import Tensor


def relativistic_discriminator(real: Float[Tensor, " n"], fake: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Pairing loss of Jolicoeur-Martineau 2018, as in R3GAN (Huang et al. 2024, Eq. 2): softplus(D(fake) - D(real))."""
    return F.softplus(fake - real).mean()


def relativistic_generator(real: Float[Tensor, " n"], fake: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Pairing loss of the generator: softplus(D(real) - D(fake))."""
    return F.softplus(real - fake).mean()


def non_saturating_discriminator(real: Float[Tensor, " n"], fake: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Goodfellow et al. 2014: -log s(D(real)) - log(1 - s(D(fake))), s the logistic function."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def non_saturating_generator(fake: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Goodfellow et al. 2014, section 3: -log s(D(fake))."""
    return F.softplus(-fake).mean()


def gradient_penalty(x: Float[Tensor, "n *shape"], logits: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Zero-centered penalty mean |grad_x D|^2 (R1 on reals, R2 on fakes; Mescheder et al. 2018, Eq. 9), in float32.

    `x` must require a gradient and `logits` be computed from it. For a linear D the result is |w|^2.
    """
    (gradient,) = torch.autograd.grad(logits.float().sum(), x, create_graph=True)
    return gradient.float().square().flatten(1).sum(1).mean()
