"""The search for nearest rows: bounds for all, measurements for the few that may be nearest.

Float32 matrix products bound every squared distance from below. Rows are measured, by subtraction in float64, in the
order of their bounds, until no bound is left under the best distance found. So copies have distance exactly 0 and none is
missed. Where float32 tells too little apart, rows close together far from the center or too large to be squared, float64
does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from aigc_pipeline.features.bounds import BoundingSpace

_QUERY_ROWS = 512
_REFERENCE_ROWS = (
    2_048  # 512 x 2,048 bounds in float32 are 4 MB: larger blocks leave the cache and take 1.3 times as long
)
_GROUP_ROWS = 16
_ALIGNED_ROWS = 128
_MEASURED_ENTRIES = 131_072
_GATHERED_ENTRIES = 1_048_576
_OPEN_PER_NUMBER = 1 / 8_192
"""Times a row's length: with a larger share of groups to look into, comparing all rows whole takes less time."""
_ROWS_PER_MEASURED = 48
"""So many rows are compared whole, by matrix products, in the time that one is measured."""
_FEW_GROUPS = 8
"""They are measured in any case: no larger share of them costs much."""
_LARGEST_NORM = 1e37
"""Larger squared norms overflow in float32 when they are added up."""
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Forbidden:
    """Reference rows that m samples must not be matched with."""

    rows: Int[Tensor, "m j"]
    """-1 forbids nothing."""
    first: Int[Tensor, " m"] | None
    """This row and all behind it."""

    @classmethod
    def of(
        cls, num_samples: int, exclude: NDArray[np.int64] | None, *, first: Int[Tensor, " m"] | None = None
    ) -> "Forbidden":
        """Take `exclude` as `nearest` does."""
        rows = np.zeros((num_samples, 0), np.int64) if exclude is None else np.array(exclude)
        return cls(torch.from_numpy(rows if rows.ndim > 1 else rows[:, None]), first)

    def take(self, samples: Int[Tensor, " s"] | slice) -> "Forbidden":
        """Return what is forbidden to some samples."""
        return Forbidden(self.rows[samples], None if self.first is None else self.first[samples])

    def mask(self, bounds: Float[Tensor, "s v b"], start: int) -> None:
        """Put bounds to infinity where the row, numbered from `start` on, is forbidden."""
        stop = start + bounds.shape[2]
        if self.rows.shape[1]:
            sample, column = ((self.rows >= start) & (self.rows < stop)).nonzero(as_tuple=True)
            bounds[sample, :, self.rows[sample, column] - start] = torch.inf
        if self.first is not None and bool((self.first < stop).any()):
            bounds.masked_fill_((torch.arange(start, stop) >= self.first[:, None])[:, None, :], torch.inf)

    def forbids(self, samples: Int[Tensor, " p"], rows: Int[Tensor, "p r"]) -> Bool[Tensor, "p r"]:
        """Return which rows are forbidden to the sample beside them."""
        found = torch.zeros_like(rows, dtype=torch.bool)
        for column in self.rows.T:
            found |= rows == column[samples, None]
        return found if self.first is None else found | (rows >= self.first[samples, None])


@dataclass(frozen=True)
class Reference:
    """Reference rows, and what bounds their distances to anything."""

    points: Float[Tensor, "n d"]
    space: BoundingSpace
    block_rows: int
    numbers: Float[Tensor, "padded c"] | None
    """What stands for the rows; None where they stand for themselves, which would be a copy of them."""
    offsets: Float[Tensor, " padded"]
    """Squared norms less the slack; infinite behind the last row."""
    is_bounded: bool
    """No squared norm is too large for float32."""

    @classmethod
    def of(cls, rows: FloatArray) -> "Reference":
        """Prepare rows `[n, d]` without copying them. NaN is infinitely far from everything."""
        points = _tensor(rows)
        return cls.within(points, BoundingSpace.of(points))

    @classmethod
    def within(cls, points: Float[Tensor, "n d"], space: BoundingSpace) -> "Reference":
        """Prepare rows for bounds in a space."""
        num_blocks = max(1, -(-len(points) // _REFERENCE_ROWS))
        block_rows = max(_ALIGNED_ROWS, -(-len(points) // (num_blocks * _ALIGNED_ROWS)) * _ALIGNED_ROWS)
        offsets = torch.full((num_blocks * block_rows,), torch.inf)
        numbers = None if space.components is None else torch.zeros(len(offsets), space.components.shape[1] + 1)
        for start in range(0, len(points), block_rows):
            block = space(points[start : start + block_rows])
            offsets[start : start + len(block)] = block.square().sum(1) * (1 - space.slack)
            if numbers is not None:
                numbers[start : start + len(block)] = block
        is_bounded = bool((offsets[: len(points)] < _LARGEST_NORM).all())
        return cls(points, space, block_rows, numbers, offsets, is_bounded)

    @cached_property
    def whole(self) -> "Reference":
        """The same rows, standing for themselves."""
        return Reference.within(self.points, self.space.whole)

    def search(self, views: Sequence[FloatArray], k: int, forbidden: Forbidden) -> tuple[FloatArray, NDArray[np.int64]]:
        """Return the k smallest distances `[m, k]` of any view of each sample to a row, and the rows `[m, k]`.

        Args:
            views: `[m, d]` each; with several, k is 1.
        """
        found, step = Best.nothing(len(views[0]), k), max(1, _QUERY_ROWS // len(views))
        for start in range(0, len(views[0]), step):
            part = slice(start, start + step)
            queries = torch.stack([_tensor(view[part]) for view in views], 1)
            best = self.best(queries, k, forbidden.take(part))
            found.squared[part], found.rows[part] = best.squared, best.rows.where(best.squared < torch.inf, 0)
        return found.squared.sqrt().to(torch.float32).numpy(), found.rows.numpy()

    def best(self, queries: Float[Tensor, "s v d"], k: int, forbidden: Forbidden) -> "Best":
        """Search for a block of samples: measure the most promising groups of rows, then what may still be nearer."""
        numbers = self.space(queries.flatten(0, 1)).view(*queries.shape[:2], -1)
        is_bounded = (self._norms(numbers) < _LARGEST_NORM).all(1) & self.is_bounded
        if not is_bounded.all():
            return self._best_in_float64(queries, k, forbidden)
        bounds = self._bounds(numbers, forbidden)
        num_groups, flat = bounds.shape[2], bounds.flatten(1)
        least = flat.topk(min(k + 1, flat.shape[1]), dim=1, largest=False)
        first = least.indices[:, :k]
        best = self._best_of(queries, first // num_groups, self._members(first % num_groups), k, forbidden)
        doubtful = ((least.values[:, -1] < best.limit) & (best.limit > 0)).nonzero()[:, 0]
        if not len(doubtful):
            return best
        is_open = flat[doubtful].scatter_(1, first[doubtful], torch.inf) < best.limit[doubtful, None]
        share = 1 / _ROWS_PER_MEASURED if self.numbers is None else queries.shape[2] * _OPEN_PER_NUMBER
        is_crowded = torch.zeros(len(queries), dtype=torch.bool)
        is_crowded[doubtful] = is_open.sum(1) > max(_FEW_GROUPS, share * is_open.shape[1])
        is_open[is_crowded[doubtful]] = False
        samples, columns = is_open.nonzero(as_tuple=True)
        is_crowded |= self._look_into(doubtful[samples], columns, bounds, queries, numbers, best, forbidden)
        crowded = is_crowded.nonzero()[:, 0]
        if len(crowded):
            closer = self._best_in_float64 if self.numbers is None else self.whole.best
            again = closer(queries[crowded], k, forbidden.take(crowded))
            best.squared[crowded], best.rows[crowded] = again.squared, again.rows
        return best

    def _best_in_float64(self, queries: Float[Tensor, "s v d"], k: int, forbidden: Forbidden) -> "Best":
        """Search for a block of samples by bounds that float64 rounds, row by row."""
        best, center, slack = Best.nothing(len(queries), k), self.space.center, self.space.double_slack
        centered = queries.double() - center
        norms = centered.square().sum(2) * (1 - slack)
        for start in range(0, len(self.points), self.block_rows):
            block = self.points[start : start + self.block_rows].double() - center
            bounds = block.square().sum(1) * (1 - slack) - 2 * (centered @ block.T) + norms[:, :, None]
            forbidden.mask(bounds, start)
            flat = bounds.flatten(1)
            first = flat.topk(min(k, flat.shape[1]), dim=1, largest=False)
            is_first = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, first.indices, first.values < torch.inf)
            self._measure(best, queries, is_first, start)
            self._measure(best, queries, ~is_first & (flat < best.limit[:, None]), start)
        return best

    def _measure(
        self, best: "Best", queries: Float[Tensor, "s v d"], is_chosen: Bool[Tensor, "s f"], start: int
    ) -> None:
        """Measure chosen pairs of a view and a row from `start` on."""
        samples, places = is_chosen.nonzero(as_tuple=True)
        num_rows, step = is_chosen.shape[1] // queries.shape[1], max(1, _GATHERED_ENTRIES // queries.shape[2])
        for first in range(0, len(samples), step):
            sample, place = samples[first : first + step], places[first : first + step]
            row = start + place % num_rows
            best.add(
                sample, row, squared_distances(queries[sample, place // num_rows], self.points, row[:, None])[:, 0]
            )

    def _bounds(self, numbers: Float[Tensor, "s v c"], forbidden: Forbidden) -> Float[Tensor, "s v g"]:
        """Return the smallest lower bound of each group's squared distances. A group's rows are evenly spaced."""
        found, num_columns = [], self.block_rows // _GROUP_ROWS
        bounds = torch.empty(*numbers.shape[:2], self.block_rows)
        for start in range(0, len(self.offsets), self.block_rows):
            block, offsets = self._block(start), self.offsets[start : start + self.block_rows]
            torch.addmm(offsets, numbers.flatten(0, 1), block.T, alpha=-2, out=bounds.flatten(0, 1))
            forbidden.mask(bounds, start)
            found.append(bounds.view(*numbers.shape[:2], _GROUP_ROWS, num_columns).amin(2))
        return torch.cat(found, 2) + self._norms(numbers)[:, :, None]

    def _norms(self, numbers: Float[Tensor, "*n c"]) -> Float[Tensor, "*n"]:
        """Return squared norms less the slack."""
        return numbers.square().sum(-1) * (1 - self.space.slack)

    def _block(self, start: int) -> Float[Tensor, "b c"]:
        """Return what stands for a block of rows, padded to the full number."""
        if self.numbers is not None:
            return self.numbers[start : start + self.block_rows]
        rows = self.space(self.points[start : start + self.block_rows])
        missing = self.block_rows - len(rows)
        return functional.pad(rows, (0, 0, 0, missing)) if missing else rows

    def _members(self, groups: Int[Tensor, "*p"]) -> Int[Tensor, "*p r"]:
        """Return the rows of some groups; some lie behind the last row."""
        num_columns = self.block_rows // _GROUP_ROWS
        first = groups // num_columns * self.block_rows + groups % num_columns
        return first[..., None] + torch.arange(_GROUP_ROWS) * num_columns

    def _may_match(
        self, sample: Int[Tensor, " p"], rows: Int[Tensor, "p r"], forbidden: Forbidden
    ) -> Bool[Tensor, "p r"]:
        return (rows < len(self.points)) & ~forbidden.forbids(sample, rows)

    def _best_of(
        self,
        queries: Float[Tensor, "s v d"],
        view: Int[Tensor, "s f"],
        rows: Int[Tensor, "s f r"],
        k: int,
        forbidden: Forbidden,
    ) -> "Best":
        """Measure all rows of some groups."""
        sample, flat = torch.arange(len(queries)).repeat_interleave(view.shape[1]), rows.flatten(0, 1)
        squared = squared_distances(queries[sample, view.flatten()], self.points, flat.clamp_max(len(self.points) - 1))
        squared.masked_fill_(~self._may_match(sample, flat, forbidden), torch.inf)
        near = squared.view(len(queries), -1).topk(min(k, rows[0].numel()), dim=1, largest=False)
        best = Best.nothing(len(queries), k)
        best.squared[:, : near.values.shape[1]] = near.values
        best.rows[:, : near.values.shape[1]] = rows.flatten(1).gather(1, near.indices)
        return best

    def _look_into(
        self,
        samples: Int[Tensor, " o"],
        columns: Int[Tensor, " o"],
        bounds: Float[Tensor, "s v g"],
        queries: Float[Tensor, "s v d"],
        numbers: Float[Tensor, "s v c"],
        best: "Best",
        forbidden: Forbidden,
    ) -> Bool[Tensor, " s"]:
        """Measure what may be nearer in open groups (`columns` of the bounds, views by groups) of some samples.

        Returns which of the samples were left off because there is too much of it.
        """
        num_measured, allowed = torch.zeros(len(queries)), queries.shape[1] * len(self.points) / _ROWS_PER_MEASURED
        norms, views, groups = self._norms(numbers), columns // bounds.shape[2], columns % bounds.shape[2]
        least = bounds[samples, views, groups]
        order, step = least.argsort(), max(1, _GATHERED_ENTRIES // (_GROUP_ROWS * numbers.shape[2]))
        for start in range(0, len(order), step):
            part = order[start : start + step]
            is_left_off = num_measured[samples[part]] > allowed
            part = part[(least[part] < best.limit[samples[part]]) & ~is_left_off]
            sample, view, rows = samples[part], views[part], self._members(groups[part])
            is_near = self._may_match(sample, rows, forbidden)
            if self.numbers is not None:
                dots = torch.bmm(self.numbers[rows], numbers[sample, view][:, :, None])[:, :, 0]
                is_near &= norms[sample, view][:, None] + self.offsets[rows] - 2 * dots < best.limit[sample, None]
            pair, member = is_near.nonzero(as_tuple=True)
            sample, view, chosen = sample[pair], view[pair], rows[pair, member]
            best.add(sample, chosen, squared_distances(queries[sample, view], self.points, chosen[:, None])[:, 0])
            if self.numbers is not None:
                num_measured += torch.bincount(sample, minlength=len(queries))
        return num_measured > allowed


@dataclass(frozen=True)
class Best:
    """The k nearest rows of each sample so far."""

    squared: Float64[Tensor, "s k"]
    rows: Int[Tensor, "s k"]

    @classmethod
    def nothing(cls, num_samples: int, k: int) -> "Best":
        """Start infinitely far away."""
        far = torch.full((num_samples, k), torch.inf, dtype=torch.float64)
        return cls(far, torch.zeros((num_samples, k), dtype=torch.int64))

    @property
    def limit(self) -> Float64[Tensor, " s"]:
        """A row at this squared distance or over changes nothing."""
        return self.squared[:, -1]

    def add(self, sample: Int[Tensor, " p"], row: Int[Tensor, " p"], squared: Float64[Tensor, " p"]) -> None:
        """Take in measured pairs."""
        is_nearer = squared < self.limit[sample]
        sample, row, squared = sample[is_nearer], row[is_nearer], squared[is_nearer]
        touched, k = torch.bincount(sample, minlength=len(self.rows)).nonzero()[:, 0], self.rows.shape[1]
        whose = torch.cat([touched.repeat_interleave(k), sample])
        values = torch.cat([self.squared[touched].flatten(), squared])
        rows = torch.cat([self.rows[touched].flatten(), row])
        order = values.argsort(stable=True)
        order = order[whose[order].argsort(stable=True)]
        counts = torch.bincount(whose, minlength=len(self.rows))
        kept = order[(counts.cumsum(0) - counts)[touched, None] + torch.arange(k)]
        self.squared[touched], self.rows[touched] = values[kept], rows[kept]


def _tensor(array: FloatArray) -> Float[Tensor, "n d"]:
    """Share the memory where it is float32, in order and writable, as torch demands."""
    return torch.from_numpy(np.require(array, np.float32, ["C", "W"]))


def squared_distances(
    queries: Float[Tensor, "p d"], points: Float[Tensor, "n d"], rows: Int[Tensor, "p r"]
) -> Float64[Tensor, "p r"]:
    """Measure queries against some rows each, by subtraction: the product form loses exact zeros to cancellation."""
    squared = torch.empty(rows.shape, dtype=torch.float64)
    step = max(1, _MEASURED_ENTRIES // max(1, rows.shape[1] * points.shape[1]))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        gathered = points.index_select(0, part.flatten()).view(*part.shape, -1).double()
        squared[start : start + step] = gathered.sub_(queries[start : start + step, None, :]).square_().sum(2)
    return squared
