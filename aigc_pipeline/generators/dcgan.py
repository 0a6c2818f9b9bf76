"""DCGAN (Radford et al. 2015) made conditional: BatchNorm networks and the non-saturating loss, with an averaged G.

The paper trains on 60,000 pictures and more. On 1,800 its D wins and G settles on one picture a class, whatever the start
weights; a zero-centred gradient penalty (Mescheder et al. 2018, Eq. 9, at reals and at fakes) prevents that
(docs/LOG.md). D's BatchNorm runs on its stored statistics when scoring, so a logit never depends on its batch.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.generators.adversarial import AdversarialFamily, Objective, ZeroCentered, players
from aigc_pipeline.generators.backbones import Size
from aigc_pipeline.generators.backbones.parts import (
    EMBEDDING_SIZE,
    LATENT_SIZE,
    SLOPE,
    center_crop,
    dot,
    geometry,
    octave_widths,
    projection,
)
from aigc_pipeline.generators.losses import LOSSES, LossName
from aigc_pipeline.training.loop import Phase
from aigc_pipeline.training.schedule import constant

_STD = 0.02
_MIN_CONVOLUTIONS = 3


class DCGAN(AdversarialFamily):
    """Conditional convolutional GAN of the 2015 paper, with a gradient penalty."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image"})
    paper: ClassVar[str] = 'Radford et al. 2015, "Unsupervised representation learning with deep convolutional GANs"'
    choose_when: ClassVar[str] = (
        "pictures from about 28 px, and ten minutes on a CPU: on MNIST first, or level with the first."
    )

    kind: Literal["dcgan"] = "dcgan"
    size: Size = "small"
    """How wide the networks are: 16, 32, 64 or 128 channels at the finest convolution."""
    loss: LossName = "non_saturating"
    """Which adversarial loss; the paper's is `non_saturating`."""
    gamma: float = Field(default=1.0, ge=0)
    """Weight of R1 + R2, by differentiating twice: about half the speed. 0 is the paper's training."""
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
                "generator": _Generator(spec.shape, num_classes, self.size),
                "discriminator": _Discriminator(spec.shape, num_classes, self.size),
            }

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return one discriminator and one generator step."""
        del spec, num_train
        penalty = ZeroCentered(constant(self.gamma), "autograd") if self.gamma else None
        objective = Objective(LOSSES[self.loss], penalty)
        rate, beta2 = constant(self.learning_rate), constant(0.999)
        return players(objective, rate, beta1=0.5, beta2=beta2)


class _Generator(nn.Module):
    def __init__(self, shape: tuple[int, ...], num_classes: int, size: Size) -> None:
        super().__init__()
        channels, self.height, self.width_px = shape
        self.base, octaves = geometry(self.height, self.width_px)
        widths = octave_widths(size, octaves)
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.enter = nn.Linear(LATENT_SIZE + EMBEDDING_SIZE, widths[0] * self.base[0] * self.base[1], bias=False)
        stages: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for narrow, wide in zip(widths[1:], widths[:-1], strict=True):
            stages += [nn.ConvTranspose2d(wide, narrow, 4, 2, 1, bias=False), nn.BatchNorm2d(narrow), nn.ReLU()]
        self.stages = nn.Sequential(*stages, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh())
        self.apply(_init)

    def forward(self, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        x: Tensor = self.stages(self.enter(torch.cat([z, self.embed(labels)], 1)).unflatten(1, (-1, *self.base)))
        return center_crop(x, self.height, self.width_px)


class _Discriminator(nn.Module):
    def __init__(self, shape: tuple[int, ...], num_classes: int, size: Size) -> None:
        super().__init__()
        channels, height, width_px = shape
        base, octaves = geometry(height, width_px)
        widths = octave_widths(size, octaves)[::-1]
        stages: list[nn.Module] = [nn.Conv2d(channels, widths[0], 4, 2, 1), nn.LeakyReLU(SLOPE)]
        for wide, narrow in zip(widths[1:], widths[:-1], strict=True):
            stages += [nn.Conv2d(narrow, wide, 4, 2, 1, bias=False), nn.BatchNorm2d(wide), nn.LeakyReLU(SLOPE)]
        top = widths[-1]
        for _ in range(
            _MIN_CONVOLUTIONS - len(widths)
        ):  # small pictures have few octaves: one layer alone sees too little
            stages += [nn.Conv2d(top, 2 * top, 3, 1, 1, bias=False), nn.BatchNorm2d(2 * top), nn.LeakyReLU(SLOPE)]
            top *= 2
        if (height, width_px) != (base[0] << octaves, base[1] << octaves):
            stages.append(nn.AdaptiveAvgPool2d(base))
        self.stages = nn.Sequential(*stages, nn.Flatten())
        self.project = projection(num_classes, top * base[0] * base[1])
        self.head = nn.Linear(top * base[0] * base[1], 1)
        self.apply(_init)

    def forward(self, x: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        hidden: Tensor = self.stages(x)
        unconditional: Tensor = self.head(hidden).squeeze(1)
        return unconditional + dot(hidden, self.project(labels))


def _init(layer: nn.Module) -> None:
    """Draw weights from N(0, 0.02) and BatchNorm gains from N(1, 0.02): section 4 of the paper."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, 0.0, _STD)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, _STD)
