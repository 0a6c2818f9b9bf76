"""Residual multilayer perceptrons: for points, and for pictures of up to 16 px. The fastest on a CPU.

Residual branches start at zero (Zhang et al. 2019, "Fixup").
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from aigc_pipeline.generators.backbones.parts import (
    EMBEDDING_SIZE,
    LATENT_SIZE,
    Size,
    activate,
    activate_adjoint,
    dot,
    he_init,
    linear_adjoint,
    projection,
)

WIDTHS: dict[Size, int] = {"tiny": 128, "small": 256, "medium": 512, "large": 1024}
_NUM_BLOCKS = 2


class ResidualBlock(nn.Module):
    """`x + W2 act(W1 act(x))`, the last layer starting at zero."""

    def __init__(self, width: int, num_blocks: int) -> None:
        super().__init__()
        self.widen = he_init(nn.Linear(width, 2 * width), gain=num_blocks**-0.5)
        self.narrow = he_init(nn.Linear(2 * width, width), gain=0.0)

    def forward(self, x: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        change: Tensor = self.narrow(activate(self.widen(activate(x))))
        return x + change

    def adjoint(self, g: Float[Tensor, "n w"], x: Float[Tensor, "n w"]) -> Float[Tensor, "n w"]:
        """Take a gradient back; `x` is the input of the forward pass."""
        before = self.widen(activate(x))
        inner = linear_adjoint(activate_adjoint(linear_adjoint(g, self.narrow), before), self.widen)
        return g + activate_adjoint(inner, x)


class MLPGenerator(nn.Module):
    """Latent and label to a sample of any shape."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, size: Size) -> None:
        super().__init__()
        width = WIDTHS[size]
        self.shape = shape
        self.embed = nn.Embedding(num_classes, EMBEDDING_SIZE)
        self.enter = he_init(nn.Linear(LATENT_SIZE + EMBEDDING_SIZE, width))
        self.blocks = nn.Sequential(*(ResidualBlock(width, _NUM_BLOCKS) for _ in range(_NUM_BLOCKS)))
        self.leave = he_init(nn.Linear(width, math.prod(shape)))

    def forward(self, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        x = self.blocks(self.enter(torch.cat([z, self.embed(labels)], 1)))
        values: Tensor = self.leave(activate(x))
        return values.reshape(-1, *self.shape)


class MLPDiscriminator(nn.Module):
    """Sample and label to a logit."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, size: Size) -> None:
        super().__init__()
        width = WIDTHS[size]
        self.enter = he_init(nn.Linear(math.prod(shape), width))
        self.blocks = nn.Sequential(*(ResidualBlock(width, _NUM_BLOCKS) for _ in range(_NUM_BLOCKS)))
        self.project = projection(num_classes, width)

    def forward(self, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        return dot(activate(self.blocks(self.enter(x.flatten(1)))), self.project(labels))

    def logit_and_gradient(
        self, x: Float[Tensor, "n *shape"], labels: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, "n *shape"]]:
        """Return logits and their gradients in `x`."""
        inputs = [self.enter(x.flatten(1))]
        for block in self.blocks:
            inputs.append(block(inputs[-1]))
        vector = self.project(labels)
        g = activate_adjoint(vector, inputs[-1])
        for block, before in zip(reversed(self.blocks), reversed(inputs[:-1]), strict=True):
            g = block.adjoint(g, before)  # type: ignore[operator]
        return dot(activate(inputs[-1]), vector), linear_adjoint(g, self.enter).reshape(x.shape)
