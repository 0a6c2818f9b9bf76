"""The GAN of Goodfellow et al. 2014 in plain multilayer perceptrons, conditional as in Mirza & Osindero 2014.

The yardstick: two hidden layers a player, no penalty and no normalization. Nothing holds the discriminator back, so it
learns a small dataset by heart; for serious work see `r3gan`.
"""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.generators.adversarial import AdversarialFamily, Objective, players
from aigc_pipeline.generators.backbones.mlp import WIDTHS
from aigc_pipeline.generators.backbones.parts import EMBEDDING_SIZE, LATENT_SIZE, SLOPE, Size, he_init
from aigc_pipeline.generators.losses import LOSSES, LossName
from aigc_pipeline.training.loop import Phase
from aigc_pipeline.training.schedule import constant

_PICTURE_AXES = 3


class MLPGAN(AdversarialFamily):
    """Conditional GAN of two plain multilayer perceptrons."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image", "vector"})
    paper: ClassVar[str] = 'Goodfellow et al. 2014, "Generative adversarial nets"; Mirza & Osindero 2014 (conditional)'
    choose_when: ClassVar[str] = "the textbook baseline to compare with, on points and small pictures."

    kind: Literal["mlp_gan"] = "mlp_gan"
    size: Size = "small"
    """How wide the networks are: 128, 256, 512 or 1,024 units in each hidden layer."""
    loss: LossName = "non_saturating"
    """Which adversarial loss; `minimax` is the paper's Eq. 1, `non_saturating` what it trains with (section 3)."""
    batch_size: int = Field(default=64, ge=2)
    """Real samples per iteration."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """Adam's, for both networks."""
    ema_half_life_samples: float = Field(default=50_000, ge=0)
    """Memory of the averaged generator, at most 5 % of the samples seen."""

    def networks(self, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
        """Return `generator` and `discriminator`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return {
                "generator": _Generator(spec.shape, num_classes, WIDTHS[self.size]),
                "discriminator": _Discriminator(spec.shape, num_classes, WIDTHS[self.size]),
            }

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return one discriminator and one generator step."""
        del spec, num_train
        objective = Objective(LOSSES[self.loss])
        rate, beta2 = constant(self.learning_rate), constant(0.999)
        return players(objective, rate, beta1=0.5, beta2=beta2)


class _Generator(nn.Module):
    """Latent and label to a sample; pictures end in tanh, points are unbounded."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, width: int) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.layers = _plain(LATENT_SIZE + EMBEDDING_SIZE, width, math.prod(shape))
        self.squash = nn.Tanh() if len(shape) == _PICTURE_AXES else nn.Identity()

    def forward(self, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        values: Tensor = self.squash(self.layers(torch.cat([z, self.embed(labels)], 1)))
        return values.reshape(-1, *self.shape)


class _Discriminator(nn.Module):
    """Sample and label, side by side, to a logit."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.layers = _plain(math.prod(shape) + EMBEDDING_SIZE, width, 1)

    def forward(self, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        logit: Tensor = self.layers(torch.cat([x.flatten(1), self.embed(labels)], 1)).squeeze(1)
        return logit


def _plain(num_inputs: int, width: int, num_outputs: int) -> nn.Sequential:
    """Return two hidden layers with LeakyReLU(0.2) between plain ends."""
    return nn.Sequential(
        he_init(nn.Linear(num_inputs, width)),
        nn.LeakyReLU(SLOPE),
        he_init(nn.Linear(width, width)),
        nn.LeakyReLU(SLOPE),
        he_init(nn.Linear(width, num_outputs)),
    )
