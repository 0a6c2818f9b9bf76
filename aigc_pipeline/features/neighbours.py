"""Exact nearest neighbours. An approximate index saves nothing below a million rows and misses near copies."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from aigc_pipeline.features.search import FloatArray, Forbidden, Reference


def nearest(
    queries: FloatArray, reference: FloatArray, k: int, *, exclude: NDArray[np.int64] | None = None
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return Euclidean distances `[m, k]` and indices `[m, k]` of the k nearest reference rows, nearest first.

    Equal to brute force in float64, the distances rounded to float32. Which of several equally near rows is named is open.

    Args:
        exclude: `[m]` or `[m, j]`: reference rows that query i must not be matched with; -1 excludes nothing. Where
            fewer than k rows are left, the distance is infinite.
    """
    return Reference.of(reference).search([queries], k, Forbidden.of(len(queries), exclude))


def nearest_over_views(
    blocks: Iterable[Sequence[FloatArray]],
    reference: FloatArray | Reference,
    *,
    exclude: NDArray[np.int64] | None = None,
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return, per sample, the smallest root-mean-square difference to any reference row over its views, and that row.

    Args:
        blocks: the views of consecutive blocks of samples, as `view_blocks` yields them.
        reference: rows `[n, d]`, or the same prepared, for whoever searches them again.
        exclude: `[m]`: a reference row that sample i must not be matched with; -1 excludes nothing.
    """
    distances: list[FloatArray] = [np.zeros(0, np.float32)]
    rows: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    prepared, start = reference if isinstance(reference, Reference) else Reference.of(reference), 0
    for views in blocks:
        stop = start + len(views[0])
        own = None if exclude is None else exclude[start:stop]
        found, index = prepared.search(views, 1, Forbidden.of(stop - start, own))
        distances.append(found[:, 0])
        rows.append(index[:, 0])
        start = stop
    return np.concatenate(distances) / np.float32(np.sqrt(prepared.points.shape[1])), np.concatenate(rows)


def nearest_earlier(blocks: Iterable[Sequence[FloatArray]], samples: FloatArray) -> FloatArray:
    """Return, per sample, the smallest root-mean-square difference of any of its views to an earlier sample as it is.

    The first sample gets infinity. Decisions built on it don't change when later samples are added.

    Args:
        blocks: the views of consecutive blocks of samples, as `view_blocks` yields them.
        samples: all of them as they are, `[n, d]`.
    """
    found: list[FloatArray] = [np.zeros(0, np.float32)]
    prepared, start = Reference.of(samples), 0
    for views in blocks:
        stop = start + len(views[0])
        forbidden = Forbidden.of(stop - start, None, first=torch.arange(start, stop))
        found.append(prepared.search(views, 1, forbidden)[0][:, 0])
        start = stop
    return np.concatenate(found) / np.float32(np.sqrt(samples.shape[1]))
