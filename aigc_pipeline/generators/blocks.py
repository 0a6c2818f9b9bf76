"""Two backbones for generator and discriminator: `mlp` for small samples, `lite` (strided convolutions) for pictures.

No normalization layers, so a logit never depends on its batch. Initialization is He et al. 2015 for LeakyReLU(0.2);
residual branches start at zero (Zhang et al. 2019, "Fixup"). Conditioning is a class embedding beside the latent in G
and a projection in D (Miyato & Koyama 2018, Eq. 3).
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float, Int
from torch import Tensor, nn

from aigc_pipeline.generators.base import Synthesis, latents
from aigc_pipeline.training.loop import Batch, Networks

LATENT_SIZE = 64
EMBEDDING_SIZE = 64
_SLOPE = 0.2
_MIN_BASE_SIDE = 4
_MLP_WIDTH = 256
_MLP_BLOCKS = 2
_PROJECTION_SIZE = 128
_MIN_CHANNELS, _MAX_CHANNELS = 16, 256


def he_init(layer: nn.Module, *, gain: float = 1.0) -> nn.Module:
    """Give a linear or convolution layer He weights times `gain` and zero bias; return it."""
    nn.init.kaiming_normal_(layer.weight, a=_SLOPE)  # type: ignore[arg-type]
    with torch.no_grad():
        layer.weight.mul_(gain)  # type: ignore[operator]
        if layer.bias is not None:
            layer.bias.zero_()  # type: ignore[operator]
    return layer


class ResidualMLP(nn.Module):
    """`x + W2 act(W1 act(x))`, the last layer starting at zero."""

    def __init__(self, width: int, num_blocks: int) -> None:
        super().__init__()
        self.widen = he_init(nn.Linear(width, 2 * width), gain=num_blocks**-0.5)
        self.narrow = he_init(nn.Linear(2 * width, width), gain=0.0)

    def forward(self, x: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        hidden = F.leaky_relu(self.widen(F.leaky_relu(x, _SLOPE)), _SLOPE)
        change: Tensor = self.narrow(hidden)
        return x + change


class MLPGenerator(nn.Module):
    """Latent and label to a sample of any shape."""

    def __init__(self, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.enter = he_init(nn.Linear(LATENT_SIZE + EMBEDDING_SIZE, _MLP_WIDTH))
        self.blocks = nn.Sequential(*(ResidualMLP(_MLP_WIDTH, _MLP_BLOCKS) for _ in range(_MLP_BLOCKS)))
        self.leave = he_init(nn.Linear(_MLP_WIDTH, math.prod(shape)))

    def forward(self, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        x = self.blocks(self.enter(torch.cat([z, self.embed(labels)], 1)))
        values: Tensor = self.leave(F.leaky_relu(x, _SLOPE))
        return values.reshape(-1, *self.shape)


class MLPDiscriminator(nn.Module):
    """Sample and label to a logit."""

    def __init__(self, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        self.enter = he_init(nn.Linear(math.prod(shape), _MLP_WIDTH))
        self.blocks = nn.Sequential(*(ResidualMLP(_MLP_WIDTH, _MLP_BLOCKS) for _ in range(_MLP_BLOCKS)))
        self.project = projection(num_classes, _MLP_WIDTH)

    def forward(self, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        hidden: Tensor = F.leaky_relu(self.blocks(self.enter(x.flatten(1))), _SLOPE)
        return dot(hidden, self.project(labels))


class LiteGenerator(nn.Module):
    """Latent and label to a picture, by strided transposed convolutions from a base of side 4 to 7."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, width: int) -> None:
        super().__init__()
        channels, self.height, self.width_px = shape
        self.base, octaves = geometry(self.height, self.width_px)
        widths = octave_widths(width, octaves)
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.enter = he_init(nn.Linear(LATENT_SIZE + EMBEDDING_SIZE, widths[0] * self.base[0] * self.base[1]))
        outs = [*widths[1:], channels]
        self.ups = nn.ModuleList(he_init(nn.ConvTranspose2d(i, o, 4, 2, 1)) for i, o in zip(widths, outs, strict=True))

    def forward(self, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        x: Tensor = self.enter(torch.cat([z, self.embed(labels)], 1)).unflatten(1, (-1, *self.base))
        for up in self.ups:
            x = up(F.leaky_relu(x, _SLOPE))
        return center_crop(x, self.height, self.width_px)


class LiteDiscriminator(nn.Module):
    """Picture and label to a logit, the mirror of `LiteGenerator`."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, width: int) -> None:
        super().__init__()
        channels, height, width_px = shape
        self.base, octaves = geometry(height, width_px)
        widths = octave_widths(width, octaves)[::-1]
        full = [side * 2**octaves for side in self.base]
        self.pad = _centered_padding(full[1] - width_px) + _centered_padding(full[0] - height)
        ins = [channels, *widths[:-1]]
        self.downs = nn.ModuleList(he_init(nn.Conv2d(i, o, 4, 2, 1)) for i, o in zip(ins, widths, strict=True))
        self.leave = he_init(nn.Linear(widths[-1] * self.base[0] * self.base[1], _PROJECTION_SIZE))
        self.project = projection(num_classes, _PROJECTION_SIZE)

    def forward(self, x: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        x = F.pad(x, self.pad, mode="reflect") if any(self.pad) else x
        for down in self.downs:
            x = F.leaky_relu(down(x), _SLOPE)
        hidden: Tensor = self.leave(x.flatten(1))
        return dot(hidden, self.project(labels))


def draw_fakes(networks: Networks, batch: Batch) -> Tensor:
    """Return one fresh fake per row of the batch, of the same class."""
    z = torch.randn(len(batch.x), LATENT_SIZE, generator=batch.rng, device=batch.x.device)
    fake: Tensor = networks["generator"](z, batch.labels)
    return fake


def sample_from_latents(networks: Networks, seeds: Sequence[int], labels: Int[Tensor, " n"]) -> Synthesis:
    """Run the generator on per-seed latents."""
    return Synthesis(networks["generator"](latents(seeds, LATENT_SIZE, labels.device), labels))


def center_crop(x: Float[Tensor, "n c h w"], height: int, width: int) -> Float[Tensor, "n c h2 w2"]:
    """Cut the middle out: upsampling ends at a multiple of the base side."""
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


def dot(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Return the inner product of each pair of rows."""
    return torch.einsum("nd,nd->n", a, b)


def projection(num_classes: int, size: int) -> nn.Embedding:
    """Return class vectors with entries of variance 1/size."""
    embedding = nn.Embedding(num_classes, size)
    nn.init.normal_(embedding.weight, std=size**-0.5)
    return embedding


def geometry(height: int, width: int) -> tuple[tuple[int, int], int]:
    """Return the base size and how many doublings lead to at least `height x width`; the base side is 4 to 7."""
    octaves = 0
    while min(math.ceil(height / 2 ** (octaves + 1)), math.ceil(width / 2 ** (octaves + 1))) >= _MIN_BASE_SIDE:
        octaves += 1
    return (math.ceil(height / 2**octaves), math.ceil(width / 2**octaves)), octaves


def octave_widths(width: int, octaves: int) -> list[int]:
    """Return channels per octave from the base up: halving towards `width` at the finest one."""
    return [max(_MIN_CHANNELS, min(_MAX_CHANNELS, width * 2 ** (octaves - 1 - i))) for i in range(max(octaves, 1))]


def _centered_padding(total: int) -> tuple[int, int]:
    return (total // 2, total - total // 2)
