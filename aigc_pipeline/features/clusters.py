"""Which samples are near duplicates of each other: a cluster of them must not be cut across splits."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from aigc_pipeline.core.samples import SampleSpec
from aigc_pipeline.features.bounds import BoundingSpace
from aigc_pipeline.features.search import squared_distances
from aigc_pipeline.features.views import first_view, view_blocks

_NUM_COMPONENTS = 32
"""Nearly all pairs are far over the limit: few components tell."""
_QUERY_ROWS, _REFERENCE_ROWS = 512, 2_048
_MEASURED_PAIRS = 4_096


def near_duplicate_clusters(cells: pa.Array, spec: SampleSpec, *, limit: float) -> NDArray[np.int64]:
    """Return a cluster number per cell: connected components of the near-duplicate relation.

    Two samples are near duplicates where the root-mean-square difference of any view of one to the other is at most `limit`.
    No pair is missed: bounds rule out those that are too far apart, the others are measured.

    Args:
        limit: in the units of the modality's views.
    """
    points = torch.from_numpy(first_view(cells, spec))
    near, names, start = NearRows.of(points, limit * math.sqrt(points.shape[1])), np.arange(len(cells)), 0
    for views in view_blocks(cells, spec):
        seen, samples = torch.from_numpy(np.concatenate(views)), np.arange(start, start + len(views[0]))
        for query, row in near.pairs(seen):
            sample = samples[query % len(samples)]
            left = np.arange(len(row))
            while len(left := left[names[sample[left]] != names[row[left]]]):
                part, left = left[:_MEASURED_PAIRS], left[_MEASURED_PAIRS:]
                part = part[near.holds(seen[query[part]], row[part])]
                names = joined(names, sample[part], row[part])
        start += len(samples)
    _, first, own = np.unique(names, return_index=True, return_inverse=True)
    return first[own]


def joined(names: NDArray[np.int64], some: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the components of all nodes after `some[i]` and `others[i]` were connected, given those before."""
    if not len(some):
        return names
    links = (np.ones(len(some), np.int8), (names[some], names[others]))
    component = connected_components(coo_matrix(links, shape=(len(names), len(names))), directed=False)[1]
    merged: NDArray[np.int64] = component.astype(np.int64)[names]
    return merged


@dataclass(frozen=True)
class NearRows:
    """Rows prepared for the question which of them lie within a radius."""

    points: Float[Tensor, "n d"]
    radius: float
    space: BoundingSpace
    column: int
    """Of the numbers that stand for a row, the one that differs most: rows far off in it alone are not looked at."""
    order: Int[Tensor, " n"]
    """The rows sorted by it, as are the three that follow."""
    numbers: Float[Tensor, "n c"]
    keys: Float[Tensor, " n"]
    norms: Float[Tensor, " n"]
    """Squared, less the slack."""

    @classmethod
    def of(cls, points: Float[Tensor, "n d"], radius: float) -> "NearRows":
        """Prepare rows without copying them."""
        space = BoundingSpace.of(points, _NUM_COMPONENTS)
        numbers = space(points)
        column = int(numbers.var(0, correction=0).argmax())
        order = numbers[:, column].argsort()
        numbers = numbers[order]
        keys, norms = numbers[:, column].contiguous(), numbers.square().sum(1) * (1 - space.slack)
        return cls(points, radius, space, column, order, numbers, keys, norms)

    def pairs(self, queries: Float[Tensor, "m d"]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Yield pairs (query, row) that may lie within the radius; all others do not."""
        numbers = self.space(queries)
        for mine in torch.split(numbers[:, self.column].argsort(), _QUERY_ROWS):
            some = numbers[mine]
            allowed = self.radius**2 - some.square().sum(1) * (1 - self.space.slack)
            for part in self._within_reach(float(some[0, self.column]), float(some[-1, self.column])):
                excess = torch.addmm(self.norms[part], some, self.numbers[part].T, alpha=-2)
                some_near = (excess.amin(1) <= allowed).nonzero()[:, 0]
                if len(some_near):
                    query, row = (excess[some_near] <= allowed[some_near, None]).nonzero(as_tuple=True)
                    yield mine[some_near[query]].numpy(), self.order[part][row].numpy()

    def _within_reach(self, least: float, largest: float) -> Iterator[slice]:
        """Yield blocks of the sorted rows that some key from `least` to `largest` may be within the radius of."""
        reach = self.radius + self.space.slack * float(self.keys.abs().max())
        start = int(torch.searchsorted(self.keys, least - reach))
        stop = int(torch.searchsorted(self.keys, largest + reach, right=True))
        for first in range(start, stop, _REFERENCE_ROWS):
            yield slice(first, min(stop, first + _REFERENCE_ROWS))

    def holds(self, queries: Float[Tensor, "p d"], rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Measure which rows lie within the radius of the query beside them."""
        squared = squared_distances(queries, self.points, torch.from_numpy(rows)[:, None])[:, 0]
        found: NDArray[np.bool_] = (squared <= self.radius**2).numpy()
        return found
