"""Exact nearest neighbours in blocks that fit the cache.

Float32 matrix products bound every squared distance from below; only the groups of rows with the smallest bounds are
measured, by subtraction in float64. A query whose answer the bounds cannot prove is searched again in float64. So copies
have distance exactly 0 and none is missed. An approximate index saves nothing below a million rows and misses near copies.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor

_QUERY_ROWS = 512
_REFERENCE_ROWS = (
    2_048  # 512 x 2,048 bounds in float32 are 4 MB: larger blocks leave the cache and take 1.3 times as long
)
_GROUP_ROWS = 16
_ALIGNED_ROWS = 128
_MEASURED_ENTRIES = 131_072
_MIN_GROUPS = 4  # times as many groups as are measured; fewer, and bounds save nothing
_VIEWS_AT_ONCE = 16
_ROUNDING = 2.0**-24
FloatArray = NDArray[np.float32]


def nearest(
    queries: FloatArray, reference: FloatArray, k: int, *, exclude: NDArray[np.int64] | None = None
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return Euclidean distances `[m, k]` and indices `[m, k]` of the k nearest reference rows, nearest first.

    Equal to brute force in float64, the distances rounded to float32. Which of several equally near rows is named is open.

    Args:
        exclude: `[m]` or `[m, j]`: reference rows that query i must not be matched with; -1 excludes nothing. Where
            fewer than k rows are left, the distance is infinite.
    """
    return _Reference.of(reference).search(queries, k, exclude)


def nearest_over_views(
    blocks: Iterable[Sequence[FloatArray]], reference: FloatArray, *, exclude: NDArray[np.int64] | None = None
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return, per sample, the smallest root-mean-square difference to any reference row over its views, and that row.

    Args:
        blocks: the views of consecutive blocks of samples, as `view_blocks` yields them.
        exclude: `[m]`: a reference row that sample i must not be matched with; -1 excludes nothing.
    """
    distances: list[FloatArray] = [np.zeros(0, np.float32)]
    rows: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    prepared, start = _Reference.of(reference), 0
    for views in blocks:
        stop = start + len(views[0])
        best, index = _nearest_view(views, prepared, None if exclude is None else exclude[start:stop])
        distances.append(best)
        rows.append(index)
        start = stop
    return np.concatenate(distances) / np.float32(np.sqrt(reference.shape[1])), np.concatenate(rows)


def nearest_earlier(blocks: Iterable[Sequence[FloatArray]]) -> FloatArray:
    """Return, per sample, the smallest root-mean-square difference of any of its views to an earlier sample as it is.

    The first sample gets infinity. Decisions built on it don't change when later samples are added.
    """
    earlier: list[FloatArray] = []
    found: list[FloatArray] = [np.zeros(0, np.float32)]
    for views in blocks:
        own = _tensor(views[0])
        best = np.full(len(own), np.inf, np.float32)
        for view in views:
            within = torch.cdist(_tensor(view), own, compute_mode="donot_use_mm_for_euclid_dist")
            within.masked_fill_(torch.ones_like(within, dtype=torch.bool).triu(), torch.inf)
            best = np.minimum(best, within.min(1).values.numpy())
        if earlier:
            best = np.minimum(best, _nearest_view(views, _Reference.of(np.concatenate(earlier)), None)[0])
        earlier.append(views[0])
        found.append(best / np.float32(np.sqrt(own.shape[1])))
    return np.concatenate(found)


@dataclass(frozen=True)
class _Reference:
    """Reference rows, and what bounds their distances to anything."""

    points: Float[Tensor, "n d"]
    center: Float[Tensor, " d"]
    """Distances do not change with the origin; rounding errors shrink."""
    slack: float
    """Share of the squared norms by which rounding may lower a squared distance at most."""
    block_rows: int
    offsets: Float[Tensor, " padded"]
    """Squared norms less the slack; infinite behind the last row."""

    @classmethod
    def of(cls, rows: FloatArray) -> "_Reference":
        """Prepare rows `[n, d]` without copying them.

        The slack holds for every order of summation: a product of d terms is off by at most d u |x||y| (Higham 2002,
        Accuracy and Stability of Numerical Algorithms, Eq. 3.5), the norms and the centering by a few u more.
        """
        points = _tensor(rows)
        num_rows, size = points.shape
        num_blocks = max(1, -(-num_rows // _REFERENCE_ROWS))
        block_rows = max(_ALIGNED_ROWS, -(-num_rows // (num_blocks * _ALIGNED_ROWS)) * _ALIGNED_ROWS)
        center, slack = points.mean(0), (2 * size + 16) * _ROUNDING
        offsets = torch.full((num_blocks * block_rows,), torch.inf)
        for start in range(0, num_rows, block_rows):
            block = points[start : start + block_rows] - center
            offsets[start : start + len(block)] = block.square().sum(1) * (1 - slack)
        return cls(points, center, slack, block_rows, offsets)

    def search(
        self, queries: FloatArray, k: int, exclude: NDArray[np.int64] | None
    ) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return distances and indices as `nearest` does."""
        unlisted = np.zeros((len(queries), 0), np.int64)
        excluded = torch.from_numpy(unlisted if exclude is None else np.array(exclude).reshape(len(queries), -1))
        squared = torch.empty((len(queries), k), dtype=torch.float64)
        rows = torch.empty((len(queries), k), dtype=torch.int64)
        doubtful = torch.ones(len(queries), dtype=torch.bool)
        num_groups = k + excluded.shape[1]
        if len(self.offsets) >= _MIN_GROUPS * _GROUP_ROWS * num_groups:
            for start in range(0, len(queries), _QUERY_ROWS):
                part = slice(start, start + _QUERY_ROWS)
                bounds = self._bounds(_tensor(queries[part]))
                squared[part], rows[part], doubtful[part] = self._measured(
                    _tensor(queries[part]), bounds, k, excluded[part]
                )
        doubts = doubtful.nonzero()[:, 0]
        for start in range(0, len(doubts), _QUERY_ROWS):
            some = doubts[start : start + _QUERY_ROWS]
            squared[some], rows[some] = self._searched_in_float64(_tensor(queries[some.numpy()]), k, excluded[some])
        return squared.sqrt().to(torch.float32).numpy(), rows.numpy()

    def _bounds(self, block: Float[Tensor, "m d"]) -> Float[Tensor, "m g"]:
        """Return the smallest lower bound of each group's squared distances. A group's rows are evenly spaced."""
        centered = block - self.center
        norms = centered.square().sum(1, keepdim=True) * (1 - self.slack)
        found, num_columns = [], self.block_rows // _GROUP_ROWS
        bounds, buffer = torch.empty(len(block), self.block_rows), torch.zeros(self.block_rows, block.shape[1])
        for start in range(0, len(self.offsets), self.block_rows):
            points = self.points[start : start + self.block_rows]
            torch.sub(points, self.center, out=buffer[: len(points)])
            torch.addmm(self.offsets[start : start + self.block_rows], centered, buffer.T, alpha=-2, out=bounds)
            found.append(bounds.view(len(block), _GROUP_ROWS, num_columns).amin(1))
        return torch.cat(found, 1) + norms

    def _measured(
        self, block: Float[Tensor, "m d"], bounds: Float[Tensor, "m g"], k: int, excluded: Int[Tensor, "m j"]
    ) -> tuple[Float64[Tensor, "m k"], Int[Tensor, "m k"], Bool[Tensor, " m"]]:
        """Return the k nearest rows of the most promising groups, and where a row left out might be nearer."""
        num_groups = k + excluded.shape[1]
        least = bounds.topk(num_groups + 1, dim=1, largest=False)
        groups, columns = least.indices[:, :num_groups, None], self.block_rows // _GROUP_ROWS
        first = groups // columns * self.block_rows + groups % columns
        rows = (first + torch.arange(_GROUP_ROWS) * columns).flatten(1)
        invalid = rows >= len(self.points)
        for column in excluded.T:
            invalid |= rows == column[:, None]
        squared = _squared(block, self.points, rows.clamp_max(len(self.points) - 1))
        near = squared.masked_fill_(invalid, torch.inf).topk(k, dim=1, largest=False)
        doubtful = least.values[:, num_groups].clamp_min(0) < near.values[:, -1]
        return near.values, rows.gather(1, near.indices), doubtful

    def _searched_in_float64(
        self, block: Float[Tensor, "m d"], k: int, excluded: Int[Tensor, "m j"]
    ) -> tuple[Float64[Tensor, "m k"], Int[Tensor, "m k"]]:
        """Return the k nearest of all rows."""
        centered, values, rows = block.double() - self.center, [], []
        for start in range(0, len(self.points), self.block_rows):
            points = self.points[start : start + self.block_rows].double() - self.center
            squared = torch.addmm(points.square().sum(1), centered, points.T, alpha=-2)
            _mask(squared, excluded - start)
            near = squared.topk(min(k, len(points)), dim=1, largest=False)
            values.append(near.values)
            rows.append(near.indices + start)
        near = torch.cat(values, 1).topk(k, dim=1, largest=False)
        found = torch.cat(rows, 1).gather(1, near.indices)
        squared = _squared(block, self.points, found).masked_fill_(near.values.isinf(), torch.inf)
        order = squared.argsort(dim=1, stable=True)
        return squared.gather(1, order), found.gather(1, order)


def _nearest_view(
    views: Sequence[FloatArray], reference: _Reference, exclude: NDArray[np.int64] | None
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return, per sample, the distance of its nearest view and the reference row that this view is nearest to."""
    best, index = np.full(len(views[0]), np.inf, np.float32), np.zeros(len(views[0]), np.int64)
    for start in range(0, len(views), _VIEWS_AT_ONCE):
        some = views[start : start + _VIEWS_AT_ONCE]
        excluded = None if exclude is None else np.concatenate([exclude] * len(some))
        found, rows = reference.search(np.concatenate(some), 1, excluded)
        for distance, row in zip(np.split(found[:, 0], len(some)), np.split(rows[:, 0], len(some)), strict=True):
            closer = distance < best
            best[closer], index[closer] = distance[closer], row[closer]
    return best, index


def _tensor(array: FloatArray) -> Float[Tensor, "n d"]:
    """Share the memory where it is float32, in order and writable, as torch demands."""
    return torch.from_numpy(np.require(array, np.float32, ["C", "W"]))


def _squared(
    block: Float[Tensor, "m d"], points: Float[Tensor, "n d"], rows: Int[Tensor, "m r"]
) -> Float64[Tensor, "m r"]:
    """Measure by subtraction: the product form loses exact zeros to cancellation."""
    squared = torch.empty(rows.shape, dtype=torch.float64)
    step = max(1, _MEASURED_ENTRIES // max(1, rows.shape[1] * points.shape[1]))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        gathered = points.index_select(0, part.flatten()).view(*part.shape, -1).double()
        squared[start : start + step] = gathered.sub_(block[start : start + step, None, :]).square_().sum(2)
    return squared


def _mask(squared: Float64[Tensor, "m n"], excluded: Int[Tensor, "m j"]) -> None:
    valid = (excluded >= 0) & (excluded < squared.shape[1])
    row = torch.arange(len(squared))[:, None].expand_as(excluded)
    squared[row[valid], excluded[valid]] = torch.inf
