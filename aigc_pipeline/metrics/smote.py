"""SMOTE (Chawla et al. 2002): new rows between a real sample and one of its nearest neighbours of the same class.

A baseline without any generator, applied to the samples as the networks see them. New rows are kept as three numbers each
and worked out when a batch draws them: written out, they would be as many as classes times the largest class.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.modalities import modality_of
from aigc_pipeline.training.loop import TrainingData

NEIGHBOURS = 5


@dataclass(frozen=True)
class Segments:
    """Row i lies the share `share[i]`, in [0, 1), of the way from sample `start[i]` to sample `end[i]`."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    share: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.start)


def smote(points: Float[Tensor, "n *shape"], labels: NDArray[np.int64], generator: np.random.Generator) -> Segments:
    """Return the rows that bring every class up to the largest, class by class.

    A class with a single sample repeats it: there is no neighbour to go towards.
    """
    counts = np.bincount(labels)
    parts = [whole(np.zeros(0, np.int64))]
    for label in np.flatnonzero((counts > 0) & (counts < counts.max())):
        rows = np.flatnonzero(labels == label)
        found = draw_segments(points[rows].flatten(1).numpy(), int(counts.max() - counts[label]), generator)
        parts.append(Segments(rows[found.start], rows[found.end], found.share))
    return joined(*parts)


def draw_segments(points: NDArray[np.float32], count: int, generator: np.random.Generator) -> Segments:
    """Return `count` rows, each uniform on the segment from one of `points` to one of its 5 nearest others."""
    start = generator.integers(len(points), size=count)
    k = min(NEIGHBOURS, len(points) - 1)
    if k == 0:
        return whole(start)
    _, index = nearest(points, points, k, exclude=np.arange(len(points), dtype=np.int64))
    end = index[start, generator.integers(k, size=count)]
    return Segments(start, end, generator.random(count, dtype=np.float32))


def whole(rows: NDArray[np.int64]) -> Segments:
    """Return samples as they are."""
    return Segments(rows, rows, np.zeros(len(rows), np.float32))


def joined(*parts: Segments) -> Segments:
    """Put several sets of rows behind each other."""
    return Segments(
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.end for part in parts]),
        np.concatenate([part.share for part in parts]),
    )


@dataclass(frozen=True, kw_only=True)
class Interpolated(TrainingData):
    """Training rows that are segments between the samples `x`. Labels, weights and the sampler count segments."""

    segments: Segments
    spec: SampleSpec

    def rows(self, index: Int[Tensor, " n"]) -> Float[Tensor, "n *shape"]:
        """Return rows, rounded as stored samples are."""
        drawn, modality = index.cpu().numpy(), modality_of(self.spec)
        start = super().rows(torch.from_numpy(self.segments.start[drawn]))
        end = super().rows(torch.from_numpy(self.segments.end[drawn]))
        share = torch.from_numpy(self.segments.share[drawn]).to(start).view(-1, *[1] * (start.ndim - 1))
        cells = modality.from_tensor(start + share * (end - start), self.spec)
        return modality.to_tensor(cells, self.spec).to(self.device)
