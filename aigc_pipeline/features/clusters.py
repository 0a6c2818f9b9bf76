"""Which samples are near duplicates of each other: a cluster of them must not be cut across splits."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.features.neighbours import nearest
from aigc_pipeline.features.views import first_view, view_blocks

_PROJECTED = 64
_NEIGHBOURS = 8
_MARGIN = 1.5
"""A projection to 64 numbers changes distances by 9 % (one standard deviation)."""


def near_duplicate_clusters(
    cells: pa.Array, spec: SampleSpec, *, limit: float, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return a cluster number per cell: connected components of the near-duplicate relation.

    Two samples are near duplicates where the root-mean-square difference of any view of one to the other is at most `limit`.
    Per view, a random projection names the eight nearest others; those are then measured.

    Args:
        limit: in the units of the modality's views.
        generator: draws the projection.
    """
    points = first_view(cells, spec)
    k = min(_NEIGHBOURS, len(cells) - 1)
    if k < 1:
        return np.arange(len(cells), dtype=np.int64)
    size = points.shape[1]
    projection = generator.standard_normal((size, _PROJECTED)).astype(np.float32) / np.float32(
        np.sqrt(_PROJECTED * size)
    )
    reference = points @ projection
    pairs: list[tuple[int, int]] = []
    start = 0
    for views in view_blocks(cells, spec):
        rows = np.tile(np.arange(start, start + len(views[0]), dtype=np.int64), len(views))
        seen = np.concatenate(views)
        distance, index = nearest(seen @ projection, reference, k, exclude=rows)
        for column in range(k):
            near = np.flatnonzero(distance[:, column] <= _MARGIN * limit)
            others = index[near, column]
            alike = np.sqrt(np.square(seen[near] - points[others]).mean(1)) <= limit
            pairs += zip(rows[near[alike]].tolist(), others[alike].tolist(), strict=True)
        start += len(views[0])
    return connected(len(cells), pairs)


def connected(num_nodes: int, pairs: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Return the component of every node, named by its smallest member (union-find with path halving)."""
    parent = np.arange(num_nodes, dtype=np.int64)

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    for a, b in pairs:
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    return np.array([root(node) for node in range(num_nodes)], np.int64)
