"""What the backbones share: sizes, geometry, initialization, conditioning, and the adjoint of each layer.

No backbone has a normalization layer, so a logit never depends on its batch. Conditioning is a class embedding beside the
latent in G and a projection in D (Miyato & Koyama 2018, Eq. 3). A discriminator of convolutions, linear layers and
LeakyReLU is piecewise linear: its gradient in the sample is an ordinary forward expression, the transposed layers in
reverse order times the slopes, so a penalty on it needs no second derivative.
"""

import math
from typing import Literal, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float, Int
from torch import Tensor, nn

from aigc_pipeline.generators.base import LATENT_SIZE as LATENT_SIZE

Size = Literal["tiny", "small", "medium", "large"]
EMBEDDING_SIZE = 64
SLOPE = 0.2
_MIN_BASE_SIDE = 4
_MIN_CHANNELS = 16
_LITE_WIDTHS: dict[Size, int] = {"tiny": 16, "small": 32, "medium": 64, "large": 128}
_MAX_WIDENING = 8


class Critic(Protocol):
    """A discriminator whose gradient is explicit."""

    def __call__(self, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return a logit per sample."""
        ...

    def logit_and_gradient(
        self, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """Return logits and their gradients in `x`, both differentiable in the weights by one backward pass."""
        ...


def he_init(layer: nn.Module, *, gain: float = 1.0) -> nn.Module:
    """Give a linear or convolution layer He weights (for LeakyReLU(0.2)) times `gain` and zero bias; return it."""
    nn.init.kaiming_normal_(layer.weight, a=SLOPE)  # type: ignore[arg-type]
    with torch.no_grad():
        layer.weight.mul_(gain)  # type: ignore[operator]
        if layer.bias is not None:
            layer.bias.zero_()  # type: ignore[operator]
    return layer


def activate(x: Tensor) -> Tensor:
    """Apply LeakyReLU(0.2)."""
    return F.leaky_relu(x, SLOPE)


def activate_adjoint(g: Tensor, before: Tensor) -> Tensor:
    """Take a gradient back through LeakyReLU(0.2), whose input was `before`."""
    back: Tensor = torch.ops.aten.leaky_relu_backward(g, before.detach(), SLOPE, self_is_result=False)
    return back


def conv_adjoint(g: Tensor, conv: nn.Module) -> Tensor:
    """Take a gradient back through a convolution that divided its input's sides evenly."""
    assert isinstance(conv, nn.Conv2d)
    padding, stride = conv.padding, conv.stride
    return F.conv_transpose2d(g, conv.weight, None, stride, padding, groups=conv.groups)  # type: ignore[arg-type]


def linear_adjoint(g: Tensor, linear: nn.Module) -> Tensor:
    """Take a gradient back through a linear layer."""
    assert isinstance(linear, nn.Linear)
    return g @ linear.weight


def dot(a: Float[Tensor, "n d"], b: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Return the inner product of each pair of rows."""
    return torch.einsum("nd,nd->n", a, b)


def projection(num_classes: int, size: int) -> nn.Embedding:
    """Return class vectors with entries of variance 1/size."""
    embedding = nn.Embedding(num_classes, size)
    nn.init.normal_(embedding.weight, std=size**-0.5)
    return embedding


def geometry(height: int, width: int) -> tuple[tuple[int, int], int]:
    """Return the base size and how many doublings lead to at least `height x width`.

    The shorter base side is 4 to 7; where two bases qualify (28 = 7 x 4 = 4 x 8 - 4), the one that wastes fewer pixels:
    at 28 px it trains 1.7 times as fast (docs/LOG.md).
    """
    fitting = []
    for octaves in range(height.bit_length() + width.bit_length()):
        base = (math.ceil(height / 2**octaves), math.ceil(width / 2**octaves))
        if _MIN_BASE_SIDE <= min(base) < 2 * _MIN_BASE_SIDE:
            wasted = math.prod(side * 2**octaves for side in base) - height * width
            fitting.append((wasted, -octaves, base))
    if not fitting:
        return (height, width), 0
    _, negative, base = min(fitting)
    return base, -negative


def center_crop(x: Float[Tensor, "n c h w"], height: int, width: int) -> Float[Tensor, "n c h2 w2"]:
    """Cut the middle out: upsampling ends at a multiple of the base side."""
    top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, top : top + height, left : left + width]


class ReflectPad(nn.Module):
    """Reflect a picture to a multiple of the base side; nothing where it already is one."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        base, octaves = geometry(height, width)
        self.pad = _centered(base[1] * 2**octaves - width) + _centered(base[0] * 2**octaves - height)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h2 w2"]:
        return F.pad(x, self.pad, mode="reflect") if any(self.pad) else x

    def adjoint(self, g: Float[Tensor, "n c h2 w2"], x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Add the reflected parts back to where they came from; `x` is the input of the forward pass."""
        if not any(self.pad):
            return g
        folded: Tensor = torch.ops.aten.reflection_pad2d_backward(g, x, self.pad)
        return folded


def octave_widths(size: Size, octaves: int) -> list[int]:
    """Return channels per octave from the base up: halving towards the size's width at the finest one."""
    assert octaves, "a picture whose shorter side is under 8 px cannot be halved: it takes perceptrons"
    width = _LITE_WIDTHS[size]
    limit = width * _MAX_WIDENING
    return [max(_MIN_CHANNELS, min(limit, width * 2 ** (octaves - 1 - i))) for i in range(octaves)]


def _centered(total: int) -> tuple[int, int]:
    return (total // 2, total - total // 2)
