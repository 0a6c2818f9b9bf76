"""Conditional variational autoencoder (Kingma & Welling 2014; Sohn et al. 2015) with a fixed noise level.

The decoder's Gaussian has standard deviation `sigma` at every value: with unit variance the few bits of a small picture
are not worth a latent and all samples of a class look alike. A sample is the decoder's mean, without its noise.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.generators.backbones.mlp import WIDTHS
from aigc_pipeline.generators.backbones.parts import (
    EMBEDDING_SIZE,
    SLOPE,
    ReflectPad,
    Size,
    activate,
    center_crop,
    geometry,
    he_init,
    octave_widths,
)
from aigc_pipeline.generators.base import LatentFamily
from aigc_pipeline.training.batch import Batch
from aigc_pipeline.training.loop import Networks, Phase
from aigc_pipeline.training.schedule import Cosine

_MLP_MAX_SIDE_PX = 16
_PICTURE_AXES = 3
_PICTURE_SIGMA, _POINT_SIGMA = 0.4, 0.1
"""On points (three Gaussians) 0.4 left some 70 % of a class's spread and 0.1 some 95 %."""


class VAE(LatentFamily):
    """Conditional variational autoencoder: an encoder q(z|x,y) and a decoder p(x|z,y)."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image", "vector"})
    paper: ClassVar[str] = 'Kingma & Welling 2014, "Auto-encoding variational Bayes"; Sohn et al. 2015 (conditional)'
    choose_when: ClassVar[str] = (
        "few samples or little time: the fastest to train and no game of two players, but samples are smooth."
    )

    decoder: ClassVar[str] = "decoder"
    kind: Literal["vae"] = "vae"
    size: Size = "small"
    """How wide the networks are."""
    latent_size: int = Field(default=8, ge=1)
    """Values of the latent z."""
    sigma: float | None = Field(default=None, gt=0)
    """Standard deviation of the decoder's Gaussian, in the networks' units. None means 0.4 for pictures, which span
    [-1, 1], and 0.1 for points, whose spread is 1. Samples lack this much of the data's spread; less smoothing strays
    further from the data."""
    batch_size: int = Field(default=64, ge=2)
    """Real samples per iteration."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's at the start; a cosine takes it to a tenth."""
    ema_half_life_samples: float = Field(default=50_000, ge=0)
    """Memory of the averaged networks, at most 5 % of the samples seen."""

    def networks(self, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
        """Return `encoder` and `decoder`: convolutions for pictures above 16 px, else multilayer perceptrons."""
        shape = spec.shape
        is_flat = len(shape) < _PICTURE_AXES or max(shape[1:]) <= _MLP_MAX_SIDE_PX or geometry(*shape[1:])[1] == 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if is_flat:
                return {
                    "encoder": _FlatEncoder(shape, num_classes, self.latent_size, WIDTHS[self.size]),
                    "decoder": _FlatDecoder(shape, num_classes, self.latent_size, WIDTHS[self.size]),
                }
            return {
                "encoder": _ConvEncoder(shape, num_classes, self.latent_size, self.size),
                "decoder": _ConvDecoder(shape, num_classes, self.latent_size, self.size),
            }

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return one step of both networks together."""
        del num_train
        rate = Cosine(self.learning_rate, self.learning_rate / 10)
        sigma = self.sigma or (_PICTURE_SIGMA if len(spec.shape) == _PICTURE_AXES else _POINT_SIGMA)
        return [Phase("autoencoder", ("encoder", "decoder"), Evidence(sigma, self.latent_size), rate)]

    def num_latents(self, spec: SampleSpec) -> int:
        """Return the latent's dimensions."""
        del spec
        return self.latent_size


@dataclass(frozen=True)
class Evidence:
    """The negative evidence lower bound (Kingma & Welling 2014, Eq. 10, one draw), divided by the values of a sample.

    The constant of the Gaussian is left out.
    """

    sigma: float
    latent_size: int

    def __call__(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its two terms."""
        mean, log_variance = networks["encoder"](batch.x, batch.labels)
        mean, log_variance = mean.float(), log_variance.float()
        z = mean + torch.exp(log_variance / 2) * batch.draws.normal(self.latent_size)
        error = (networks["decoder"](z, batch.labels).float() - batch.x).square().mean() / (2 * self.sigma**2)
        divergence = kl_to_standard_normal(mean, log_variance).mean() / batch.x[0].numel()
        return error + divergence, {"reconstruction": error, "kl": divergence}


def kl_to_standard_normal(mean: Float[Tensor, "n z"], log_variance: Float[Tensor, "n z"]) -> Float[Tensor, " n"]:
    """Return KL(N(mean, variance) || N(0, 1)), summed over values (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


class _FlatEncoder(nn.Module):
    """Sample and label to the mean and the log variance of its latent."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, latent_size: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.layers = _plain(math.prod(shape) + EMBEDDING_SIZE, width, 2 * latent_size)

    def forward(
        self, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n z"], Float[Tensor, "n z"]]:
        mean, log_variance = self.layers(torch.cat([x.flatten(1), self.embed(labels)], 1)).chunk(2, 1)
        return mean, log_variance


class _FlatDecoder(nn.Module):
    """Latent and label to the mean of a sample; nothing squashes it, values are clamped only when stored."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, latent_size: int, width: int) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.layers = _plain(latent_size + EMBEDDING_SIZE, width, math.prod(shape))

    def forward(self, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        values: Tensor = self.layers(torch.cat([z, self.embed(labels)], 1))
        return values.reshape(-1, *self.shape)


class _ConvEncoder(nn.Module):
    """The same by strided convolutions; the label joins at the last layer."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, latent_size: int, size: Size) -> None:
        super().__init__()
        channels, height, width_px = shape
        base, octaves = geometry(height, width_px)
        widths = octave_widths(size, octaves)[::-1]
        self.pad = ReflectPad(height, width_px)
        ins = [channels, *widths[:-1]]
        self.downs = nn.ModuleList(he_init(nn.Conv2d(i, o, 4, 2, 1)) for i, o in zip(ins, widths, strict=True))
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.leave = _plain(widths[-1] * base[0] * base[1] + EMBEDDING_SIZE, WIDTHS[size], 2 * latent_size)

    def forward(
        self, x: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n z"], Float[Tensor, "n z"]]:
        x = self.pad(x)
        for down in self.downs:
            x = activate(down(x))
        mean, log_variance = self.leave(torch.cat([x.flatten(1), self.embed(labels)], 1)).chunk(2, 1)
        return mean, log_variance


class _ConvDecoder(nn.Module):
    """The mirror of `_ConvEncoder`, ending in tanh: plain backgrounds are exactly -1 or 1 (docs/LOG.md)."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, latent_size: int, size: Size) -> None:
        super().__init__()
        channels, self.height, self.width_px = shape
        self.base, octaves = geometry(self.height, self.width_px)
        widths = octave_widths(size, octaves)
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.enter = _plain(latent_size + EMBEDDING_SIZE, WIDTHS[size], widths[0] * self.base[0] * self.base[1])
        outs = [*widths[1:], channels]
        self.ups = nn.ModuleList(he_init(nn.ConvTranspose2d(i, o, 4, 2, 1)) for i, o in zip(widths, outs, strict=True))

    def forward(self, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        x: Tensor = self.enter(torch.cat([z, self.embed(labels)], 1)).unflatten(1, (-1, *self.base))
        for up in self.ups:
            x = up(activate(x))
        return torch.tanh(center_crop(x, self.height, self.width_px))


def _plain(num_inputs: int, width: int, num_outputs: int) -> nn.Sequential:
    """Return two hidden layers with LeakyReLU(0.2) between plain ends; the output starts small."""
    return nn.Sequential(
        he_init(nn.Linear(num_inputs, width)),
        nn.LeakyReLU(SLOPE),
        he_init(nn.Linear(width, width)),
        nn.LeakyReLU(SLOPE),
        he_init(nn.Linear(width, num_outputs), gain=0.1),
    )
