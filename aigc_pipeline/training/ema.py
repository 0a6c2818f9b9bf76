"""Exponential moving average of weights, its memory given as a half-life in samples (Karras et al. 2020, appendix B)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_MAX_SHARE = 0.05
"""The half-life never exceeds this share of the samples seen so far: early weights are forgotten fast."""


def ema_weight(step_samples: int, half_life_samples: float, samples_seen: int) -> float:
    """Return the share of the new weights in one update; 1 copies them (half-life 0)."""
    half_life = min(half_life_samples, _MAX_SHARE * samples_seen)
    return 1.0 if half_life <= 0 else 1.0 - 0.5 ** (step_samples / half_life)


@torch.no_grad()
def update_ema(average: Mapping[str, nn.Module], current: Mapping[str, nn.Module], weight: float) -> None:
    """Move every averaged parameter towards its current value by `weight`; buffers are copied."""
    for name, module in average.items():
        for mean, value in zip(module.parameters(), current[name].parameters(), strict=True):
            mean.lerp_(value, weight)
        _copy_buffers(module, current[name])


def _copy_buffers(average: nn.Module, current: nn.Module) -> None:
    buffers: dict[str, Tensor] = dict(current.named_buffers())
    for name, mean in average.named_buffers():
        mean.copy_(buffers[name])
