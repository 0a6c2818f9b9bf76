"""Pixels to PNG bytes and to HTML. The same pixels always give the same bytes under one version of Pillow and zlib."""

import base64
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_MIN_SHOWN_PX = 64


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return one picture, `[h, w]`, `[h, w, 1]` or `[h, w, 3]`, as a PNG file."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1, optimize=False)
    return buffer.getvalue()


def img_tag(pixels: NDArray[np.uint8]) -> str:
    """Return an `<img>` that carries the picture in itself. The browser enlarges it, so the PNG stays small."""
    height, width = pixels.shape[:2]
    factor = max(1, -(-_MIN_SHOWN_PX // min(height, width)))
    data = base64.b64encode(png(pixels)).decode("ascii")
    return (
        f'<img src="data:image/png;base64,{data}" width="{width * factor}" height="{height * factor}" '
        f'alt="sample of {width} by {height} pixels" style="image-rendering: pixelated">'
    )
