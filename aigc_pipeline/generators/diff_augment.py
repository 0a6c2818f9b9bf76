"""Differentiable augmentation of everything D sees (Zhao et al. 2020): translation and cutout for pictures.

No brightness: on small grey pictures it leaked into G as a grey haze and cost 1.5 points of train-on-synthetic accuracy
(docs/LOG.md). Real and fake pass the same kind of draw, so G is not taught to produce augmented samples. Other modalities are left
alone. Each transform is applied with probability `p` per sample.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from jaxtyping import Float
from torch import Tensor

from aigc_pipeline.training.batch import Draws

_SHIFT_SHARE = 0.125
_CUTOUT_SHARE = 0.35
_PICTURE_AXES = 4


def diff_augment(x: Float[Tensor, "n *shape"], p: float, draws: Draws) -> Float[Tensor, "n *shape"]:
    """Return augmented samples; differentiable in `x`."""
    if p <= 0 or x.ndim != _PICTURE_AXES:
        return x
    return _cutout(_translate(x, p, draws), p, draws)


def _chosen(x: Tensor, p: float, draws: Draws) -> Tensor:
    return (draws.uniform() < p).to(x.dtype)


def _translate(x: Float[Tensor, "n c h w"], p: float, draws: Draws) -> Float[Tensor, "n c h w"]:
    """Shift by whole pixels; what enters from outside repeats the edge."""
    height, width = x.shape[2:]
    chosen = _chosen(x, p, draws).long()
    rows = _shifted(height, chosen, draws)
    columns = _shifted(width, chosen, draws)
    n, c = x.shape[:2]
    x = x.gather(2, rows[:, None, :, None].expand(n, c, height, width))
    return x.gather(3, columns[:, None, None, :].expand(n, c, height, width))


def _shifted(size: int, chosen: Tensor, draws: Draws) -> Tensor:
    reach = max(1, round(size * _SHIFT_SHARE))
    shift = draws.integers(-reach, reach + 1) * chosen
    return (torch.arange(size, device=chosen.device)[None, :] + shift[:, None]).clamp_(0, size - 1)


def _cutout(x: Float[Tensor, "n c h w"], p: float, draws: Draws) -> Float[Tensor, "n c h w"]:
    """Replace a square by the sample's own mean."""
    height, width = x.shape[2:]
    chosen = _chosen(x, p, draws).bool()
    inside = _interval(height, draws)[:, :, None] & _interval(width, draws)[:, None, :]
    hole = (inside & chosen[:, None, None])[:, None].to(x.dtype)
    return torch.lerp(x, F.adaptive_avg_pool2d(x, 1).expand_as(x), hole)


def _interval(size: int, draws: Draws) -> Tensor:
    length = max(1, round(size * _CUTOUT_SHARE))
    start = draws.integers(1 - length, size)[:, None]
    position = torch.arange(size, device=start.device)[None, :]
    return (position >= start) & (position < start + length)
