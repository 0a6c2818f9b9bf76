"""Deformations learned on pairs of one class, applied to a parent: what large classes vary by, lent to small ones.

A conditional VAE over deformations (Kingma & Welling 2014, Eq. 10; compare Zhao et al. 2019, "Data augmentation using
learned transformations", and Antoniou et al. 2017, DAGAN). The encoder sees two samples a, b of a class; the warper sees
a and the latent and returns a coarse displacement field and an affine map; the warped a is compared with b. It never
sees a label, so what it learned on every class applies to any parent. Pixels are moved, never painted.
"""

import json
import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from aigc_pipeline.core.errors import DataError
from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.generators.backbones.parts import ReflectPad, Size, activate, geometry, he_init, octave_widths
from aigc_pipeline.generators.base import Family, Synthesis, latents
from aigc_pipeline.generators.vae import kl_to_standard_normal
from aigc_pipeline.training.batch import Batch
from aigc_pipeline.training.loop import Networks, Phase, Sampler
from aigc_pipeline.training.samplers import SameClassPairs
from aigc_pipeline.training.schedule import Cosine

_NODES = 7
_MAX_SHIFT = 0.3
"""Largest displacement of a node, in half sides."""
_MAX_AFFINE = 0.3
_HIDDEN = 128
_NUM_TRIES = 4
_MIN_INK, _MAX_INK = 0.7, 1.4
_SMALLEST_INK = 1e-3
_DARKEST = -1.0


class Warp(Family):
    """Learned deformations of real parents."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image"})
    paper: ClassVar[str] = 'own; compare Zhao et al. 2019, "Data augmentation using learned transformations"'
    choose_when: ClassVar[str] = "classes too small for any generator, beside large ones that vary in the same ways."
    uses_parents: ClassVar[bool] = True

    kind: Literal["warp"] = "warp"
    size: Size = "small"
    """How wide the networks are."""
    latent_size: int = Field(default=8, ge=1)
    """Dimensions of a deformation."""
    latent_scale: float = Field(default=1.0, gt=0)
    """How far samples go: 1 is as far as training pairs differ."""
    sigma: float = Field(default=0.3, gt=0)
    """Standard deviation of a pixel around its prediction, in [-1, 1] units: smaller fits pairs more closely."""
    smoothness: float = Field(default=1.0, ge=0)
    """Weight of the squared differences of neighbouring nodes."""
    batch_size: int = Field(default=64, ge=2, multiple_of=2)
    """Samples per step: half as many pairs."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Start of a cosine to a tenth."""
    ema_half_life_samples: float = Field(default=50_000, ge=0)
    """Memory of the averaged networks, at most 5 % of the samples seen."""

    @property
    def samples_side_by_side(self) -> bool:
        """Return True."""
        return True

    def sampler(self, labels: Int[Tensor, " n"]) -> Sampler:
        """Draw pairs of a class: rows 2i and 2i + 1."""
        return SameClassPairs(labels, 0.5)

    def networks(self, spec: SampleSpec, num_classes: int, seed: int) -> dict[str, nn.Module]:
        """Return `encoder` (two samples to a latent's mean and log-variance) and `warper` (sample, latent to a field)."""
        del num_classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return {
                "encoder": _PairEncoder(spec.shape, self.size, self.latent_size),
                "warper": _Warper(spec.shape, self.size, self.latent_size),
            }

    def phases(self, spec: SampleSpec, num_train: int) -> list[Phase]:
        """Return one step down the evidence bound."""
        del spec, num_train
        rate = Cosine(self.learning_rate, self.learning_rate / 10)
        return [Phase("warp", ("encoder", "warper"), self._loss, rate)]

    def sample(
        self,
        networks: Networks,
        seeds: Sequence[int],
        labels: Int[Tensor, " n"],
        *,
        spec: SampleSpec,
        parents: Float[Tensor, "n *shape"] | None = None,
    ) -> Synthesis:
        """Warp `parents[i]` by a latent from `seeds[i]`: the first of four that keeps its ink, else hardly at all.

        Raises:
            DataError: without parents.
        """
        del labels, spec
        if parents is None:
            msg = (
                "the warp family deforms real samples and was given no parents. It needs the dataset it was trained on."
            )
            raise DataError(msg)
        tries = latents(seeds, _NUM_TRIES * self.latent_size, parents.device).reshape(len(seeds), _NUM_TRIES, -1)
        chosen, found = parents, torch.zeros(len(parents), dtype=torch.bool, device=parents.device)
        for number in range(_NUM_TRIES):
            affine, nodes = networks["warper"](parents, self.latent_scale * tries[:, number])
            made = warp(parents, affine, nodes, mode="bicubic")
            takes = keeps_ink(made, parents) & ~found
            chosen = torch.where(takes[:, None, None, None], made, chosen)
            found = found | takes
        return Synthesis(chosen, [json.dumps({"latent": "from seed", "kept": kept}) for kept in found.tolist()])

    def _loss(self, networks: Networks, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the negative evidence bound per value: squared error / 2 sigma^2, KL, and the field's roughness."""
        start, end = batch.x[0::2], batch.x[1::2]
        mean, log_variance = networks["encoder"](start, end)
        z = mean + (0.5 * log_variance).exp() * batch.draws.normal(self.latent_size)[0::2]
        affine, nodes = networks["warper"](start, z)
        error = (warp(start, affine, nodes) - end).square().flatten(1).sum(1) / (2 * self.sigma**2)
        divergence = kl_to_standard_normal(mean, log_variance)
        rough = self.smoothness * roughness(nodes)
        loss = (error + divergence + rough).mean() / start[0].numel()
        return loss, {"error": error.mean(), "kl": divergence.mean(), "roughness": rough.mean()}


class _Trunk(nn.Module):
    """Strided convolutions down to a side of 4 to 7, flattened."""

    def __init__(self, shape: tuple[int, ...], size: Size) -> None:
        super().__init__()
        channels, height, width_px = shape
        base, octaves = geometry(height, width_px)
        widths = octave_widths(size, octaves)[::-1]
        self.pad = ReflectPad(height, width_px)
        ins = [channels, *widths[:-1]]
        self.downs = nn.ModuleList(he_init(nn.Conv2d(i, o, 4, 2, 1)) for i, o in zip(ins, widths, strict=True))
        self.out_features = widths[-1] * math.prod(base)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
        x = self.pad(x)
        for down in self.downs:
            x = activate(down(x))
        return x.flatten(1)


class _PairEncoder(nn.Module):
    def __init__(self, shape: tuple[int, ...], size: Size, latent_size: int) -> None:
        super().__init__()
        self.trunk = _Trunk((2 * shape[0], *shape[1:]), size)
        self.hidden = he_init(nn.Linear(self.trunk.out_features, _HIDDEN))
        self.leave = he_init(nn.Linear(_HIDDEN, 2 * latent_size), gain=0.1)

    def forward(self, start: Float[Tensor, "n c h w"], end: Float[Tensor, "n c h w"]) -> tuple[Tensor, Tensor]:
        hidden = activate(self.hidden(self.trunk(torch.cat([start, end], 1))))
        mean, log_variance = self.leave(hidden).chunk(2, dim=1)
        return mean, log_variance


class _Warper(nn.Module):
    """Starts as the identity: its last layer is zero."""

    def __init__(self, shape: tuple[int, ...], size: Size, latent_size: int) -> None:
        super().__init__()
        self.trunk = _Trunk(shape, size)
        self.look = he_init(nn.Linear(self.trunk.out_features, _HIDDEN))
        self.mix = he_init(nn.Linear(_HIDDEN + latent_size, _HIDDEN))
        self.mix_again = he_init(nn.Linear(_HIDDEN + latent_size, _HIDDEN))
        self.leave = he_init(nn.Linear(_HIDDEN, 6 + 2 * _NODES**2), gain=0.0)

    def forward(
        self, x: Float[Tensor, "n c h w"], z: Float[Tensor, "n z"]
    ) -> tuple[Float[Tensor, "n 2 3"], Float[Tensor, "n 2 k k"]]:
        hidden = activate(self.mix(torch.cat([activate(self.look(self.trunk(x))), z], 1)))
        hidden = activate(self.mix_again(torch.cat([hidden, z], 1)))
        values = torch.tanh(self.leave(hidden))
        affine, nodes = values[:, :6], values[:, 6:]
        return _MAX_AFFINE * affine.reshape(-1, 2, 3), _MAX_SHIFT * nodes.reshape(-1, 2, _NODES, _NODES)


def warp(
    x: Float[Tensor, "n c h w"],
    affine: Float[Tensor, "n 2 3"],
    nodes: Float[Tensor, "n 2 k k"],
    mode: Literal["bilinear", "bicubic"] = "bilinear",
) -> Float[Tensor, "n c h w"]:
    """Return pictures seen through the identity plus an affine change plus a displacement field; the edge repeats.

    Stored samples take bicubic interpolation: they are varied again when they are used, and bilinear blurs each time.
    Places are worked out in float32 whatever autocast says: bfloat16 is a pixel off at 256 px.
    """
    height, width = x.shape[2:]
    with torch.autocast(x.device.type, enabled=False):
        identity = torch.eye(2, 3, device=x.device)
        grid = F.affine_grid(identity + affine.float(), [len(x), 1, height, width], align_corners=False)
        field = F.interpolate(nodes.float(), size=(height, width), mode="bicubic", align_corners=True)
        grid = grid + field.movedim(1, -1)
        seen = F.grid_sample(x.float(), grid, mode=mode, padding_mode="border", align_corners=False)
    return seen.to(x).clamp(-1, 1)


def roughness(nodes: Float[Tensor, "n 2 k k"]) -> Float[Tensor, " n"]:
    """Return the summed squared differences of neighbouring nodes, in units of the largest displacement."""
    scaled = nodes / _MAX_SHIFT
    across, down = scaled.diff(dim=3), scaled.diff(dim=2)
    return across.square().flatten(1).sum(1) + down.square().flatten(1).sum(1)


def keeps_ink(made: Float[Tensor, "n c h w"], parents: Float[Tensor, "n c h w"]) -> Tensor:
    """Tell which samples have between 0.7 and 1.4 times their parent's mean brightness above black: the guard."""
    ink = [(x - _DARKEST).flatten(1).mean(1) for x in (made, parents)]
    ratio = ink[0] / ink[1].clamp(min=_SMALLEST_INK)
    return (ratio >= _MIN_INK) & (ratio <= _MAX_INK)
