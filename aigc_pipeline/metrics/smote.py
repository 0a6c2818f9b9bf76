"""SMOTE (Chawla et al. 2002): new rows between a real sample and one of its nearest neighbours of the same class.

A baseline without any generator, applied to the samples as the networks see them.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.data.loader import LabelledCells
from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.modalities import modality_of

NEIGHBOURS = 5


def smote(real: LabelledCells, spec: SampleSpec, num_classes: int, generator: np.random.Generator) -> LabelledCells:
    """Return the rows that bring every class up to the largest.

    A class with a single sample repeats it: there is no neighbour to go towards.
    """
    modality = modality_of(spec)
    counts = real.class_counts(num_classes)
    parts: list[NDArray[np.float32]] = []
    labels: list[int] = []
    for label in np.flatnonzero((counts > 0) & (counts < counts.max())):
        rows = np.flatnonzero(real.labels == label)
        own = modality.to_tensor(real.take(rows).cells, spec).numpy()
        missing = int(counts.max() - counts[label])
        parts.append(interpolate(own.reshape(len(own), -1), missing, generator).reshape(missing, *own.shape[1:]))
        labels += [int(label)] * missing
    if not parts:
        return real.take(np.zeros(0, np.int64))
    cells = modality.from_tensor(torch.from_numpy(np.concatenate(parts)), spec)
    return LabelledCells([f"smote-{i}" for i in range(len(labels))], np.array(labels, np.int64), cells)


def interpolate(points: NDArray[np.float32], count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Return `[count, d]` points, each uniform on the segment from one of `points` to one of its 5 nearest others."""
    start = generator.integers(len(points), size=count)
    k = min(NEIGHBOURS, len(points) - 1)
    if k == 0:
        return points[start]
    _, index = nearest(points, points, k, exclude=np.arange(len(points), dtype=np.int64))
    end = index[start, generator.integers(k, size=count)]
    share = generator.random((count, 1), dtype=np.float32)
    return np.asarray(points[start] + share * (points[end] - points[start]), np.float32)
