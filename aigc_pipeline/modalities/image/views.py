"""Harmless shifts and mirrorings of pictures: what a near copy may differ by and still count as the same picture."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name all of torch uses
from numpy.typing import NDArray

from aigc_pipeline.modalities.base import FloatArray
from aigc_pipeline.modalities.image.spec import Symmetry

_MAX_SIDE_PX = 32  # larger pictures are compared at this size: memory grows with area times the number of views
_WIDE_REACH_FROM_PX = 28


def shifted_views(pixels: NDArray[np.uint8], symmetries: tuple[Symmetry, ...]) -> Iterator[FloatArray]:
    """Yield `[n, d]` arrays in [0, 1]: each picture's middle, all shifts of that window, then the same mirrored.

    Only what both pictures show is compared, so a copy shifted by a pixel has distance exactly 0 to its original's
    first view: a border that a shift pushes out of the picture cannot tell them apart.

    Args:
        pixels: `[n, h, w, c]`. Beyond 32 px the pictures are reduced by area first.
        symmetries: legal mirrorings; two of them legalize their composition, too.
    """
    unit = _reduced(pixels)
    num_samples, height, width, _ = unit.shape
    reach = 2 if min(height, width) >= _WIDE_REACH_FROM_PX else 1
    rows, columns = height - 2 * reach, width - 2 * reach
    for mirrored in _mirrorings(unit, symmetries):
        for top, left in _corners(reach):
            yield mirrored[:, top : top + rows, left : left + columns].reshape(num_samples, -1)


def _corners(reach: int) -> list[tuple[int, int]]:
    """Return the top left corners of all shifts, the unshifted one first."""
    starts = range(2 * reach + 1)
    corners = product(starts, starts)
    return sorted(corners, key=lambda corner: abs(corner[0] - reach) + abs(corner[1] - reach))


def _mirrorings(pictures: FloatArray, symmetries: tuple[Symmetry, ...]) -> Iterator[FloatArray]:
    horizontal = (False, True) if "horizontal" in symmetries else (False,)
    vertical = (False, True) if "vertical" in symmetries else (False,)
    for flip_rows, flip_columns in product(vertical, horizontal):
        yield pictures[:, :: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def _reduced(pixels: NDArray[np.uint8]) -> FloatArray:
    unit = pixels.astype(np.float32) / np.float32(255)
    height, width = pixels.shape[1:3]
    factor = -(-max(height, width) // _MAX_SIDE_PX)
    if factor == 1:
        return unit
    channels_first = torch.from_numpy(unit).movedim(-1, 1)
    reduced = F.interpolate(channels_first, size=(-(-height // factor), -(-width // factor)), mode="area")
    return np.asarray(reduced.movedim(1, -1).numpy(), np.float32)
