"""Conditional flow matching: a velocity field that carries noise to data along straight lines.

Lipman et al. 2023; Liu et al. 2023 (rectified flow); the independent coupling of Tong et al. 2024 with no noise around
the lines. The network tells the sample at the end of the line, and the velocity follows from it (Li & He 2025, "Back to
basics"): a small network that has to tell the velocity leaves noise in its samples. Classes by classifier-free guidance
(Ho & Salimans 2022). The sampler takes a fixed number of steps, so a sample costs the same whatever it shows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.generators.backbones.mlp import WIDTHS, ResidualBlock
from aigc_pipeline.generators.backbones.parts import (
    EMBEDDING_SIZE,
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

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""Points on lines and their times to the samples that the lines end at."""
_PICTURE_AXES = 3
_NUM_BLOCKS = 3
_NUM_FREQUENCIES = 8
_GROUP_CHANNELS = 8
_MIN_REMAINING = 0.5
"""An error's weight is that of the velocity, 1 / (1 - t)^2, until this much of the line remains."""


class FlowMatching(LatentFamily):
    """Class-conditional flow from noise to data; the noise, as large as a sample, is the latent."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image", "vector"})
    paper: ClassVar[str] = (
        'Lipman et al. 2023, "Flow matching for generative modeling"; Liu et al. 2023; Tong et al. 2024; Li & He 2025'
    )
    choose_when: ClassVar[str] = (
        "the default: keeps the spread of small pictures best, by plain regression; 11 network passes a sample."
    )

    decoder: ClassVar[str] = "denoiser"

    kind: Literal["flow_matching"] = "flow_matching"
    size: Size = "small"
    """How wide the network is."""
    num_steps: int = Field(default=6, ge=1)
    """Steps of the sampler: two network passes each, one in the last; twice as many with guidance."""
    guidance: float = Field(default=1.0, ge=0)
    """Strength of the class: 1 samples the class as it is, more exaggerates what sets it apart and loses variety."""
    label_dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of training samples whose class is hidden, so that guidance has something to compare with."""
    batch_size: int = Field(default=64, ge=2)
    """Real samples per iteration."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's at the start; a cosine takes it to a tenth."""
    ema_half_life_samples: float = Field(default=50_000, ge=0)
    """Memory of the averaged network, at most 5 % of the samples seen."""

    def networks(self, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
        """Return `denoiser`: a small U-Net for pictures, a multilayer perceptron for points and pictures under 8 px."""
        shape = spec.shape
        has_octaves = len(shape) == _PICTURE_AXES and geometry(*shape[1:])[1] > 0
        make = _UNet if has_octaves else _FlatDenoiser
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return {"denoiser": make(shape, num_classes, self.size)}

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return one step of the denoiser."""
        del spec, num_train
        rate = Cosine(self.learning_rate, self.learning_rate / 10)
        return [Phase("denoiser", ("denoiser",), Matching(self.label_dropout), rate)]

    def num_latents(self, spec: SampleSpec) -> int:
        """Return the number of values in a sample."""
        return math.prod(spec.shape)

    def decode(
        self, networks: Networks, z: Float[Tensor, "n z"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        """Carry noise along the flow."""
        network = networks["denoiser"]
        noise = z.reshape(z.shape[0], *network.shape)  # type: ignore[misc]
        return heun(self._guided(network, labels), noise, self.num_steps)

    def _guided(self, network: nn.Module, labels: Int[Tensor, " n"]) -> Denoiser:
        """Return none + guidance (class - none), which is Ho & Salimans 2022, Eq. 6: velocities are linear in samples."""

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            of_class: Tensor = network(x, t, labels)
            if self.guidance == 1:
                return of_class
            of_none: Tensor = network(x, t, torch.full_like(labels, network.none))  # type: ignore[arg-type]
            return torch.lerp(of_none, of_class, self.guidance)

        return denoise


@dataclass(frozen=True)
class Matching:
    """Mean squared error of the velocity at x_t = (1 - t) x0 + t x1 against x1 - x0 (Tong et al. 2024, Eq. 14).

    The velocity is (sample - x_t) / (1 - t), so its error is the sample's divided by 1 - t (Li & He 2025, Table 1).
    """

    label_dropout: float

    def __call__(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss at one time per sample, uniform in [0, 1)."""
        noise, t = batch.draws.normal(*batch.x.shape[1:]), batch.draws.uniform()
        hidden = batch.draws.uniform() < self.label_dropout
        labels = batch.labels.masked_fill(hidden, networks["denoiser"].none)  # type: ignore[arg-type]
        told = networks["denoiser"](between(noise, batch.x, t), t, labels)
        error = (told.float() - batch.x).square().flatten(1).mean(1)
        return (error / (1 - t).clamp(min=_MIN_REMAINING).square()).mean(), {}


def between(
    noise: Float[Tensor, "n *shape"], x: Float[Tensor, "n *shape"], t: Float[Tensor, " n"]
) -> Float[Tensor, "n *shape"]:
    """Return the point at time `t` on the line from noise (0) to data (1)."""
    return torch.lerp(noise, x, t.reshape(-1, *[1] * (x.ndim - 1)))


def heun(denoise: Denoiser, x: Float[Tensor, "n *shape"], num_steps: int) -> Float[Tensor, "n *shape"]:
    """Follow dx/dt = (denoise(x, t) - x) / (1 - t) from time 0 to 1 by Heun's second-order method.

    Steps shorten towards the end, where fine detail is decided. The last one, of length 1 / num_steps^2, is Euler's: it
    lands on the denoiser's answer, and its error is of the same order.
    """
    times = [1 - (1 - i / num_steps) ** 2 for i in range(num_steps)]
    for start, end in pairwise(times):
        first = (denoise(x, x.new_full(x.shape[:1], start)) - x) / (1 - start)
        ahead = x + (end - start) * first
        second = (denoise(ahead, x.new_full(x.shape[:1], end)) - ahead) / (1 - end)
        x = x + (end - start) / 2 * (first + second)
    return denoise(x, x.new_full(x.shape[:1], times[-1]))


class _Condition(nn.Module):
    """Time and class to a vector; class `none` stands for a hidden one."""

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(num_classes + 1, EMBEDDING_SIZE)
        self.enter = he_init(nn.Linear(2 * _NUM_FREQUENCIES + EMBEDDING_SIZE, width))

    def forward(self, t: Float[Tensor, " n"], labels: Int[Tensor, " n"]) -> Float[Tensor, "n w"]:
        angles = t[:, None] * torch.arange(1, _NUM_FREQUENCIES + 1, device=t.device) * math.pi
        vector: Tensor = self.enter(torch.cat([angles.cos(), angles.sin(), self.embed(labels)], 1))
        return vector


class _FlatDenoiser(nn.Module):
    """Point on a line, time and label to the sample at its end, by residual perceptrons."""

    def __init__(self, shape: tuple[int, ...], num_classes: int, size: Size) -> None:
        super().__init__()
        width = WIDTHS[size]
        self.none, self.shape = num_classes, shape
        self.enter = he_init(nn.Linear(math.prod(shape), width))
        self.condition = _Condition(num_classes, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, _NUM_BLOCKS) for _ in range(_NUM_BLOCKS))
        self.leave = he_init(nn.Linear(width, math.prod(shape)))

    def forward(
        self, x: Float[Tensor, "n *shape"], t: Float[Tensor, " n"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n *shape"]:
        condition, hidden = self.condition(t, labels), self.enter(x.flatten(1))
        for block in self.blocks:
            hidden = block(hidden + condition)
        told: Tensor = self.leave(activate(hidden))
        return told.reshape(x.shape)


class _UNet(nn.Module):
    """The same for pictures, ending in tanh: down to a base of side 4 to 7 and up, each octave's features carried across.

    The first convolution already halves the sides: blocks at full resolution would cost most of the time.
    """

    def __init__(self, shape: tuple[int, ...], num_classes: int, size: Size) -> None:
        super().__init__()
        channels, self.height, self.width_px = shape
        _, octaves = geometry(self.height, self.width_px)
        widths = octave_widths(size, octaves)[::-1]
        self.none, self.shape = num_classes, shape
        self.condition = _Condition(num_classes, WIDTHS[size])
        self.pad = ReflectPad(self.height, self.width_px)
        self.enter = nn.Conv2d(channels, widths[0], 4, 2, 1)
        self.downs = nn.ModuleList(nn.Conv2d(fine, coarse, 4, 2, 1) for fine, coarse in pairwise(widths))
        self.ups = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 4, 2, 1) for fine, coarse in pairwise(widths))
        self.before, self.after = (nn.ModuleList(_Block(width, WIDTHS[size]) for width in widths) for _ in range(2))
        self.leave = nn.ConvTranspose2d(widths[0], channels, 4, 2, 1)

    def forward(
        self, x: Float[Tensor, "n c h w"], t: Float[Tensor, " n"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c h w"]:
        condition = self.condition(t, labels)
        hidden = self.before[0](self.enter(self.pad(x)), condition)
        carried = []
        for down, block in zip(self.downs, list(self.before)[1:], strict=True):
            carried.append(hidden)
            hidden = block(down(hidden), condition)
        hidden = self.after[-1](hidden, condition)
        for up, block in zip(reversed(self.ups), list(self.after)[-2::-1], strict=True):
            hidden = block(up(hidden) + carried.pop(), condition)
        return torch.tanh(center_crop(self.leave(hidden), self.height, self.width_px))


class _Block(nn.Module):
    """`x + W2 act(norm(W1 act(norm(x)) + condition))`, the last layer starting at zero. GroupNorm is per sample."""

    def __init__(self, width: int, condition_size: int) -> None:
        super().__init__()
        groups = width // _GROUP_CHANNELS
        self.first = nn.Sequential(nn.GroupNorm(groups, width), nn.SiLU(), nn.Conv2d(width, width, 3, 1, 1))
        self.shift = nn.Sequential(nn.SiLU(), nn.Linear(condition_size, width))
        self.second = nn.Sequential(
            nn.GroupNorm(groups, width), nn.SiLU(), he_init(nn.Conv2d(width, width, 3, 1, 1), gain=0.0)
        )

    def forward(self, x: Float[Tensor, "n w h v"], condition: Float[Tensor, "n d"]) -> Float[Tensor, "n w h v"]:
        change: Tensor = self.second(self.first(x) + self.shift(condition)[:, :, None, None])
        return x + change
