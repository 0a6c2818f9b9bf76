"""Strided convolutions: the best backbone for pictures on a CPU (docs/LOG.md), and a light one on a GPU."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aigc_pipeline.generators.backbones.parts import (
    EMBEDDING_SIZE,
    LATENT_SIZE,
    ReflectPad,
    Size,
    activate,
    activate_adjoint,
    center_crop,
    conv_adjoint,
    dot,
    geometry,
    he_init,
    linear_adjoint,
    octave_widths,
    projection,
)

_PROJECTION_SIZE = 128


class LiteGenerator(nn.Module):
    """Latent and label to a picture, by strided transposed convolutions from a base of side 4 to 7, ending in tanh.

    Plain backgrounds are exactly -1 or 1: unbounded outputs hover around them, on both sides, and samples look speckled.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int, size: Size) -> None:
        super().__init__()
        channels, self.height, self.width_px = shape
        self.base, octaves = geometry(self.height, self.width_px)
        widths = octave_widths(size, octaves)
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.enter = he_init(nn.Linear(LATENT_SIZE + EMBEDDING_SIZE, widths[0] * self.base[0] * self.base[1]))
        outs = [*widths[1:], channels]
        self.ups = nn.ModuleList(he_init(nn.ConvTranspose2d(i, o, 4, 2, 1)) for i, o in zip(widths, outs, strict=True))

    def forward(self, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        x: Tensor = self.enter(torch.cat([z, self.embed(labels)], 1)).unflatten(1, (-1, *self.base))
        for up in self.ups:
            x = up(activate(x))
        return torch.tanh(center_crop(x, self.height, self.width_px))


class LiteDiscriminator(nn.Module):
    """Picture and label to a logit, the mirror of `LiteGenerator`."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, size: Size) -> None:
        super().__init__()
        channels, height, width_px = shape
        self.base, octaves = geometry(height, width_px)
        widths = octave_widths(size, octaves)[::-1]
        self.pad = ReflectPad(height, width_px)
        ins = [channels, *widths[:-1]]
        self.downs = nn.ModuleList(he_init(nn.Conv2d(i, o, 4, 2, 1)) for i, o in zip(ins, widths, strict=True))
        self.leave = he_init(nn.Linear(widths[-1] * self.base[0] * self.base[1], _PROJECTION_SIZE))
        self.project = projection(num_classes, _PROJECTION_SIZE)

    def forward(self, x: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        return self._logit(self._befores(x)[-1], self.project(labels))

    def logit_and_gradient(
        self, x: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n c h w"]]:
        """Return logits and their gradients in `x`."""
        befores, vector = self._befores(x), self.project(labels)
        g = linear_adjoint(vector, self.leave).reshape(befores[-1].shape)
        for down, before in zip(reversed(self.downs), reversed(befores), strict=True):
            g = conv_adjoint(activate_adjoint(g, before), down)
        return self._logit(befores[-1], vector), self.pad.adjoint(g, x)

    def _befores(self, x: Tensor) -> list[Tensor]:
        """Return what each convolution gives, before its activation."""
        befores: list[Tensor] = []
        x = self.pad(x)
        for down in self.downs:
            befores.append(down(x))
            x = activate(befores[-1])
        return befores

    def _logit(self, before: Tensor, vector: Tensor) -> Tensor:
        return dot(self.leave(activate(before).flatten(1)), vector)
