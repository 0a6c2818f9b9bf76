"""Exact nearest neighbours in blocks. An approximate index saves nothing below a million rows and misses near copies."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

_BLOCK_ENTRIES = 8_000_000  # distances held at once: 32 MB in float32
FloatArray = NDArray[np.float32]


def nearest(
    queries: FloatArray, reference: FloatArray, k: int, *, exclude: NDArray[np.int64] | None = None
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return Euclidean distances `[m, k]` and indices `[m, k]` of the k nearest reference rows, nearest first.

    Args:
        exclude: `[m]` or `[m, j]`: reference rows that query i must not be matched with; -1 excludes nothing.
    """
    distances = np.empty((len(queries), k), np.float32)
    indices = np.empty((len(queries), k), np.int64)
    points = torch.from_numpy(np.array(reference, np.float32))
    norms = points.square().sum(1)
    step = max(1, _BLOCK_ENTRIES // max(1, len(reference)))
    excluded = None if exclude is None else torch.from_numpy(exclude.reshape(len(queries), -1))
    for start in range(0, len(queries), step):
        block = torch.from_numpy(np.ascontiguousarray(queries[start : start + step], np.float32))
        squared = torch.addmm(norms[None, :], block, points.T, alpha=-2.0)
        if excluded is not None:
            _mask(squared, excluded[start : start + step])
        near = squared.topk(k, dim=1, largest=False)
        indices[start : start + step] = near.indices.numpy()
        distances[start : start + step] = _exact(block, points, near.indices, near.values).numpy()
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(distances, order, 1), np.take_along_axis(indices, order, 1)


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
    start = 0
    for views in blocks:
        stop = start + len(views[0])
        best, index = np.full(stop - start, np.inf, np.float32), np.zeros(stop - start, np.int64)
        for view in views:
            distance, row = nearest(view, reference, 1, exclude=None if exclude is None else exclude[start:stop])
            closer = distance[:, 0] < best
            best[closer], index[closer] = distance[closer, 0], row[closer, 0]
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
        own = torch.from_numpy(np.ascontiguousarray(views[0]))
        best = np.full(len(own), np.inf, np.float32)
        for view in views:
            within = torch.cdist(
                torch.from_numpy(np.ascontiguousarray(view)), own, compute_mode="donot_use_mm_for_euclid_dist"
            )
            within.masked_fill_(torch.ones_like(within, dtype=torch.bool).triu(), torch.inf)
            best = np.minimum(best, within.min(1).values.numpy())
            if earlier:
                best = np.minimum(best, nearest(view, np.concatenate(earlier), 1)[0][:, 0])
        earlier.append(views[0])
        found.append(best / np.float32(np.sqrt(own.shape[1])))
    return np.concatenate(found)


def _mask(squared: Float[Tensor, "m n"], excluded: Int[Tensor, "m j"]) -> None:
    rows = torch.arange(len(squared))[:, None].expand_as(excluded)
    valid = excluded >= 0
    squared[rows[valid], excluded[valid]] = torch.inf


def _exact(
    block: Float[Tensor, "m d"], points: Float[Tensor, "n d"], indices: Int[Tensor, "m k"], values: Float[Tensor, "m k"]
) -> Float[Tensor, "m k"]:
    """Recompute the few kept distances by subtraction: the product form loses exact zeros to cancellation."""
    exact = (block[:, None, :] - points[indices]).square().sum(2).sqrt()
    exact[torch.isinf(values)] = torch.inf
    return exact
