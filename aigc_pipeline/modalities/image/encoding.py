"""Pixels to PNG bytes, to HTML and to contact sheets. The same pixels always give the same bytes under one version of Pillow and zlib."""

import base64
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_MIN_SHOWN_PX = 64
_MIN_TILE_PX = 32
_GAP_PX = 2
_WHITE = 255


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return one picture, `[h, w]` or `[h, w, 1 to 4]`, as a PNG file."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1, optimize=False)
    return buffer.getvalue()


def img_tag(pixels: NDArray[np.uint8]) -> str:
    """Return an `<img>` that carries the picture in itself. The browser enlarges it, so the PNG stays small."""
    height, width = pixels.shape[:2]
    factor = _factor(pixels, _MIN_SHOWN_PX)
    data = base64.b64encode(png(pixels)).decode("ascii")
    return (
        f'<img src="data:image/png;base64,{data}" width="{width * factor}" height="{height * factor}" '
        f'alt="sample of {width} by {height} pixels" style="image-rendering: pixelated">'
    )


def contact_sheet(pixels: NDArray[np.uint8], *, columns: int) -> NDArray[np.uint8]:
    """Lay pictures, `[n, h, w, c]`, out in rows on white, `[H, W, c]`; small ones are enlarged to 32 px or more."""
    factor = _factor(pixels[0], _MIN_TILE_PX)
    tiles = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    tiles = np.pad(tiles, ((0, -len(tiles) % columns), (0, 0), (0, 0), (0, 0)), constant_values=_WHITE)
    tiles = np.pad(tiles, ((0, 0), (0, _GAP_PX), (0, _GAP_PX), (0, 0)), constant_values=_WHITE)
    _, height, width, channels = tiles.shape
    rows = tiles.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
    return rows.reshape(-1, columns * width, channels)


def _factor(pixels: NDArray[np.uint8], min_side_px: int) -> int:
    """Return the whole number that enlarges the short side to `min_side_px` or more."""
    short_side: int = min(pixels.shape[:2])
    return max(1, -(-min_side_px // short_side))
