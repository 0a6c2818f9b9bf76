"""The R3GAN backbone (Huang et al. 2024, section 4, config E): grouped residual blocks, resampled by fixed filters.

A block widens by a 1x1 convolution, works in groups by a 3x3 one, and narrows by a 1x1 one that starts at zero; no
normalization, no style, no gain constants. For GPUs: on two cores `lite` learns faster (docs/LOG.md). Own code, written
from the paper.
"""

import math
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
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
    projection,
)

WIDTHS: dict[Size, dict[int, int]] = {
    "tiny": {8: 96, 16: 64, 32: 48, 64: 32, 128: 16, 256: 16},
    "small": {8: 256, 16: 192, 32: 128, 64: 64, 128: 32, 256: 32},
    "medium": {8: 512, 16: 384, 32: 256, 64: 128, 128: 96, 256: 48},
    "large": {32: 768, 64: 384, 128: 192, 256: 96},
}
"""Channels by resolution: each holds up to that side, the last one beyond."""
_BLOCKS: dict[Size, int] = {"tiny": 1, "small": 1, "medium": 2, "large": 2}
_EXPANSION = 2
_GROUP_CHANNELS = 16
_TAPS = (1.0, 3.0, 3.0, 1.0)


class Block(nn.Module):
    """`x + W3 act(W2 act(W1 x))`; W2 works in groups of 16 channels, W3 starts at zero."""

    def __init__(self, width: int, gain: float) -> None:
        super().__init__()
        inner = _EXPANSION * width
        self.widen = he_init(nn.Conv2d(width, inner, 1), gain=gain)
        self.mix = he_init(nn.Conv2d(inner, inner, 3, 1, 1, groups=inner // _GROUP_CHANNELS), gain=gain)
        self.narrow = he_init(nn.Conv2d(inner, width, 1, bias=False), gain=0.0)

    def forward(self, x: Float[Tensor, "n w h v"]) -> Float[Tensor, "n w h v"]:
        change: Tensor = self.narrow(activate(self.mix(activate(self.widen(x)))))
        return x + change

    def with_adjoint(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Return the output and what `adjoint` needs."""
        first = self.widen(x)
        second = self.mix(activate(first))
        return x + self.narrow(activate(second)), (first, second)

    def adjoint(self, g: Tensor, kept: tuple[Tensor, Tensor]) -> Tensor:
        """Take a gradient back."""
        first, second = kept
        inner = activate_adjoint(conv_adjoint(g, self.narrow), second)
        inner = activate_adjoint(conv_adjoint(inner, self.mix), first)
        return g + conv_adjoint(inner, self.widen)


class Down(nn.Module):
    """Halve both sides by the fixed filter [1, 3, 3, 1] / 8 per axis, then change the width where it changes."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        taps = torch.tensor(_TAPS) / sum(_TAPS)
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)
        self.change = _change_width(in_width, out_width)

    def forward(self, x: Float[Tensor, "n w h v"]) -> Float[Tensor, "n w2 h2 v2"]:
        halved = F.conv2d(x, self._kernels(x), stride=2, padding=1, groups=x.shape[1])
        changed: Tensor = self.change(halved)
        return changed

    def adjoint(self, g: Tensor) -> Tensor:
        """Take a gradient back."""
        g = conv_adjoint(g, self.change) if isinstance(self.change, nn.Conv2d) else g
        return F.conv_transpose2d(g, self._kernels(g), stride=2, padding=1, groups=g.shape[1])

    def _kernels(self, x: Tensor) -> Tensor:
        kernel: Tensor = self.kernel  # type: ignore[assignment]
        return kernel.to(x.dtype).expand(x.shape[1], 1, -1, -1)


class Up(nn.Module):
    """Change the width where it changes, then double both sides by the same filter (bilinear)."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.change = _change_width(in_width, out_width)

    def forward(self, x: Float[Tensor, "n w h v"]) -> Float[Tensor, "n w2 h2 v2"]:
        return F.interpolate(self.change(x), scale_factor=2, mode="bilinear", align_corners=False)


class ResNeXtGenerator(nn.Module):
    """Latent and label to a picture; no squashing at the end, values are clamped only when stored."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, size: Size) -> None:
        super().__init__()
        channels, self.height, self.width_px = shape
        base, octaves = geometry(self.height, self.width_px)
        widths = stage_widths(size, base, octaves)
        gain = _fixup_gain(size, octaves)
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.enter = nn.Linear(LATENT_SIZE + EMBEDDING_SIZE, widths[0], bias=False)
        self.basis = nn.Parameter(torch.randn(widths[0], *base))
        stages: list[nn.Module] = _blocks(widths[0], size, gain)
        for before, after in pairwise(widths):
            stages += [Up(before, after), *_blocks(after, size, gain)]
        self.stages = nn.Sequential(*stages)
        self.leave = _linear_init(nn.Conv2d(widths[-1], channels, 1))
        _linear_init(self.enter)

    def forward(self, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n c h w"]:
        weights: Tensor = self.enter(torch.cat([z, self.embed(labels)], 1))
        x: Tensor = self.leave(self.stages(weights[:, :, None, None] * self.basis))
        return center_crop(x, self.height, self.width_px)


class ResNeXtDiscriminator(nn.Module):
    """Picture and label to a logit, the mirror of `ResNeXtGenerator`."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, size: Size) -> None:
        super().__init__()
        channels, height, width_px = shape
        base, octaves = geometry(height, width_px)
        widths = stage_widths(size, base, octaves)[::-1]
        gain = _fixup_gain(size, octaves)
        self.pad = ReflectPad(height, width_px)
        self.enter = _linear_init(nn.Conv2d(channels, widths[0], 1))
        layers: list[nn.Module] = _blocks(widths[0], size, gain)
        for before, after in pairwise(widths):
            layers += [Down(before, after), *_blocks(after, size, gain)]
        self.layers = nn.ModuleList(layers)
        self.basis = _linear_init(nn.Conv2d(widths[-1], widths[-1], base, groups=widths[-1], bias=False))
        self.leave = _linear_init(nn.Linear(widths[-1], widths[-1], bias=False))
        self.project = projection(num_classes, widths[-1])

    def forward(self, x: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        x = self.enter(self.pad(x))
        for layer in self.layers:
            x = layer(x)
        return dot(self.leave(self.basis(x).flatten(1)), self.project(labels))

    def logit_and_gradient(
        self, x: Float[Tensor, "n c h w"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n c h w"]]:
        """Return logits and their gradients in `x`."""
        y, vector = self.enter(self.pad(x)), self.project(labels)
        kept: list[tuple[Tensor, Tensor] | None] = []
        for layer in self.layers:
            y, keep = layer.with_adjoint(y) if isinstance(layer, Block) else (layer(y), None)
            kept.append(keep)
        logit = dot(self.leave(self.basis(y).flatten(1)), vector)
        g = conv_adjoint(linear_adjoint(vector, self.leave)[:, :, None, None], self.basis)
        for layer, keep in zip(reversed(self.layers), reversed(kept), strict=True):
            g = layer.adjoint(g) if keep is None else layer.adjoint(g, keep)  # type: ignore[operator]
        return logit, self.pad.adjoint(conv_adjoint(g, self.enter), x)


def stage_widths(size: Size, base: tuple[int, int], octaves: int) -> list[int]:
    """Return channels per stage from the base up, by the resolution of each stage."""
    table = WIDTHS[size]
    sides = [max(base) * 2**octave for octave in range(octaves + 1)]
    return [next((width for limit, width in table.items() if side <= limit), min(table.values())) for side in sides]


def _blocks(width: int, size: Size, gain: float) -> list[nn.Module]:
    return [Block(width, gain) for _ in range(_BLOCKS[size])]


def _fixup_gain(size: Size, octaves: int) -> float:
    """Return L^(-1/(2m-2)) for L blocks of m = 3 layers (Zhang et al. 2019, section 3)."""
    return float((_BLOCKS[size] * (octaves + 1)) ** -0.25)


def _linear_init(layer: nn.Module) -> nn.Module:
    """Give a layer without activation weights of variance 1 / fan-in and zero bias; return it."""
    weight: Tensor = layer.weight  # type: ignore[assignment]
    with torch.no_grad():
        weight.normal_(0.0, 1 / math.sqrt(weight[0].numel()))
        if layer.bias is not None:
            layer.bias.zero_()  # type: ignore[operator]
    return layer


def _change_width(in_width: int, out_width: int) -> nn.Module:
    return nn.Identity() if in_width == out_width else _linear_init(nn.Conv2d(in_width, out_width, 1, bias=False))
