"""Adversarial losses, each a member of `LOSSES`, and the gradient penalty. All work on logits and return batch means."""

from typing import Literal, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float
from torch import Tensor

Logits = Float[Tensor, " n"]
Scalar = Float[Tensor, ""]
LossName = Literal["relativistic", "non_saturating", "minimax", "hinge", "wasserstein"]


class AdversarialLoss(Protocol):
    """What D and G minimize. Row i of `real` and row i of `fake` have the same class."""

    def discriminator(self, real: Logits, fake: Logits) -> Scalar:
        """Return D's loss."""
        ...

    def generator(self, real: Logits | None, fake: Logits) -> Scalar:
        """Return G's loss; `real` is given where `pairs`."""
        ...

    @property
    def pairs(self) -> bool:
        """True where G's loss compares with logits of real samples."""
        ...


class Relativistic:
    """Pairing loss of Jolicoeur-Martineau 2018, as in R3GAN (Huang et al. 2024, Eq. 2): softplus(D(fake) - D(real))."""

    pairs = True

    def discriminator(self, real: Logits, fake: Logits) -> Scalar:
        """Return mean softplus(D(fake) - D(real))."""
        return F.softplus(fake - real).mean()

    def generator(self, real: Logits | None, fake: Logits) -> Scalar:
        """Return mean softplus(D(real) - D(fake))."""
        assert real is not None
        return F.softplus(real - fake).mean()


class NonSaturating:
    """Goodfellow et al. 2014: D maximizes log s(D(real)) + log(1 - s(D(fake))), G log s(D(fake)) (section 3)."""

    pairs = False

    def discriminator(self, real: Logits, fake: Logits) -> Scalar:
        """Return mean -log s(real) - log(1 - s(fake)), s the logistic function."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def generator(self, real: Logits | None, fake: Logits) -> Scalar:
        """Return mean -log s(fake)."""
        del real
        return F.softplus(-fake).mean()


class Minimax(NonSaturating):
    """Goodfellow et al. 2014, Eq. 1: G minimizes log(1 - s(D(fake))), whose gradient fades where D wins."""

    def generator(self, real: Logits | None, fake: Logits) -> Scalar:
        """Return mean log(1 - s(fake))."""
        del real
        return -F.softplus(fake).mean()


class Hinge:
    """Lim & Ye 2017, Miyato et al. 2018, Eq. 16 and 17: max(0, 1 - D(real)) + max(0, 1 + D(fake)); G maximizes D(fake)."""

    pairs = False

    def discriminator(self, real: Logits, fake: Logits) -> Scalar:
        """Return mean max(0, 1 - real) + max(0, 1 + fake)."""
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, real: Logits | None, fake: Logits) -> Scalar:
        """Return mean -fake."""
        del real
        return -fake.mean()


class Wasserstein:
    """Arjovsky et al. 2017, Eq. 2: the critic's mean difference. Needs a Lipschitz critic: a penalty holds it."""

    pairs = False

    def discriminator(self, real: Logits, fake: Logits) -> Scalar:
        """Return mean fake - mean real."""
        return fake.mean() - real.mean()

    def generator(self, real: Logits | None, fake: Logits) -> Scalar:
        """Return mean -fake."""
        del real
        return -fake.mean()


LOSSES: dict[LossName, AdversarialLoss] = {
    "relativistic": Relativistic(),
    "non_saturating": NonSaturating(),
    "minimax": Minimax(),
    "hinge": Hinge(),
    "wasserstein": Wasserstein(),
}


def gradient_penalty(x: Float[Tensor, "n *shape"], logits: Logits) -> Scalar:
    """Zero-centered penalty mean |grad_x D|^2 (R1 on reals, R2 on fakes; Mescheder et al. 2018, Eq. 9), in float32.

    `x` must require a gradient and `logits` be computed from it. For a linear D the result is |w|^2.
    """
    (gradient,) = torch.autograd.grad(logits.float().sum(), x, create_graph=True)
    return squared_norm(gradient)


def squared_norm(gradient: Float[Tensor, "n *shape"]) -> Scalar:
    """Return mean |gradient|^2 over the batch, in float32."""
    return gradient.float().square().flatten(1).sum(1).mean()
