"""Precision and recall (Kynkaanniemi et al. 2019), density and coverage (Naeem et al. 2020), streamed in blocks."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from aigc_pipeline.features.neighbours import nearest

_BLOCK_ROWS = 1_024


@dataclass(frozen=True)
class PRDC:
    """All four; for identical distributions at k = 5 coverage is about 0.97, precision and recall well under 1."""

    precision: float
    """Share of fakes inside some real sample's ball."""
    recall: float
    """Share of reals inside some fake sample's ball."""
    density: float
    """Mean number of real balls around a fake, over k."""
    coverage: float
    """Share of reals whose ball holds a fake."""


def prdc(real: NDArray[np.floating], fake: NDArray[np.floating], k: int = 5) -> PRDC:
    """Return the four numbers for features `[n, d]` and `[m, d]`; a ball reaches to the k-th neighbour of its own set."""
    real_radius, fake_radius = _radii(real, k), _radii(fake, k)
    real_points, fake_points = torch.from_numpy(np.array(real)).double(), torch.from_numpy(np.array(fake)).double()
    inside_real = np.zeros(len(fake), np.int64)
    covered, recalled = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for start in range(0, len(fake), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        distance = torch.cdist(real_points, fake_points[block]).numpy()
        in_real_ball = distance < real_radius[:, None]
        inside_real[block] = in_real_ball.sum(0)
        covered |= in_real_ball.any(1)
        recalled |= (distance < fake_radius[None, block]).any(1)
    return PRDC(
        precision=float((inside_real > 0).mean()),
        recall=float(recalled.mean()),
        density=float(inside_real.mean() / k),
        coverage=float(covered.mean()),
    )


def _radii(points: NDArray[np.floating], k: int) -> NDArray[np.float64]:
    """Return each point's distance to its k-th neighbour, itself not counted."""
    values = np.asarray(points, np.float32)
    _, index = nearest(values, values, k, exclude=np.arange(len(values), dtype=np.int64))
    kth = np.asarray(points, np.float64)[index[:, -1]]
    return np.asarray(np.sqrt(np.square(np.asarray(points, np.float64) - kth).sum(1)))
