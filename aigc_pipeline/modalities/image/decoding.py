"""Picture files to upright 8-bit grey or RGB, with alpha if asked for. Whatever a file hides or clips by default is made explicit here.

A file is decoded in full (`Image.verify` accepts a JPEG that was cut in half) and from an allow-list of formats (Pillow
registers 43 openers). It deliberately never sets `ImageFile.LOAD_TRUNCATED_IMAGES`, which is global to the process and
turns half a picture into a good one. ICC profiles are ignored.
"""

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.ExifTags import Base
from PIL.Image import Resampling, Transpose

from aigc_pipeline.modalities.base import Reject

# MPO is allowed as well: Pillow's JPEG opener yields it. Naming it here makes `Image.open` raise a bare KeyError.
ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 64_000_000  # Pillow itself warns at 89 MP and refuses at 179 MP: 17.6 kB of PNG can announce 144 MP

# What 2 million mutated files of the allowed formats raised (OSError, SyntaxError, ValueError, TypeError), and what
# Pillow's plugins are documented to raise on short reads (EOFError, struct.error, IndexError).
_DECODING_ERRORS = (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, IndexError)
_ACCEPT_ERRORS = (SyntaxError, TypeError, struct.error, IndexError)  # the four that `Image.open` swallows, too

_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_UPRIGHT: dict[int, Transpose] = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded file: upright pixels of mode L or RGB (LA or RGBA where alpha is kept), and what the file itself was."""

    pixels: Image.Image
    has_alpha: bool
    """The file has transparency, kept or not."""
    file_mode: str
    file_format: str


def read_picture(content: bytes, *, keep_alpha: bool = False) -> Picture | Reject:
    """Decode a file in full, or return why it cannot be used.

    An animation gives its first frame, and more than 8 bits are scaled down linearly. Transparency shows white, unless
    `keep_alpha` makes it a channel.
    """
    if not content:
        return Reject("zero_byte", "the file is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # odd metadata; pixels that are affected raise
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return _decoded(content, keep_alpha=keep_alpha)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as err:
            return Reject("decompression_bomb", str(err))
        except UnidentifiedImageError:
            return _unidentified(content)
        except _DECODING_ERRORS as err:
            return Reject("truncated" if "truncated" in str(err).lower() else "corrupt", f"decoding failed: {err}")


def fit_picture(image: Image.Image, *, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return the centre of the picture at the target size as `[height, width, channels]`.

    Pixels of a picture that has the target size already are returned as they are; but whatever is fully transparent
    is white, so that colours which nobody sees are nothing to learn.
    """
    image = image.convert(_MODES[channels])
    fitted = ImageOps.fit(image, (width, height), method=Resampling.LANCZOS)
    pixels = np.array(fitted).reshape(height, width, channels)
    if channels in {2, 4}:
        pixels[pixels[..., -1] == 0, :-1] = 255
    return pixels


def _decoded(content: bytes, *, keep_alpha: bool) -> Picture | Reject:
    with Image.open(BytesIO(content), formats=ALLOWED_FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            return Reject("decompression_bomb", f"the header announces {width} x {height} px, over {MAX_PIXELS:,} px")
        if not width * height:
            return Reject("corrupt", f"the header announces {width} x {height} px")
        file_mode, file_format = image.mode, str(image.format)
        image.load()
        pixels = _eight_bit(image, keep_alpha=keep_alpha)
        return Picture(_upright(pixels, image), image.has_transparency_data, file_mode, file_format)


def _upright(pixels: Image.Image, image: Image.Image) -> Image.Image:
    """Turn `pixels` the way the EXIF data of `image` asks for.

    `ImageOps.exif_transpose` would also write the EXIF data anew, which fails on data that reads well.
    """
    method = _UPRIGHT.get(image.getexif().get(Base.Orientation, 1))
    return pixels if method is None else pixels.transpose(method)


def _eight_bit(image: Image.Image, *, keep_alpha: bool) -> Image.Image:
    """Return the picture as L or RGB, or with alpha. Deep modes come first: Pillow's own conversion clips them to 255."""
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image), low=0, high=2**16 - 1)
    if image.mode == "I":
        values = np.asarray(image)
        return _scaled(values, low=min(0.0, float(values.min())), high=float(values.max()))  # TIFF may be signed
    if image.mode == "F":
        values = np.asarray(image)
        if not np.isfinite(values).all():
            msg = "some pixels are NaN or infinite"
            raise ValueError(msg)
        return _scaled(values, low=float(values.min()), high=float(values.max()))
    if image.has_transparency_data:
        return image.convert("LA" if image.mode == "LA" else "RGBA") if keep_alpha else _on_white(image)
    return image.convert("L" if image.mode in {"1", "L"} else "RGB")


def _scaled(values: NDArray[np.generic], *, low: float, high: float) -> Image.Image:
    """Map [low, high] linearly to [0, 255]; a picture of one value becomes black."""
    unit = (values.astype(np.float64) - low) / max(high - low, np.finfo(np.float64).tiny)
    return Image.fromarray(np.rint(unit.clip(0, 1) * 255).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Show what a viewer shows: dropping the alpha channel would bring hidden colours to light."""
    canvas = Image.new("RGBA", image.size, "white")
    canvas.alpha_composite(image.convert("RGBA"))
    return canvas.convert("L" if image.mode in {"1", "L", "LA"} else "RGB")


def _unidentified(content: bytes) -> Reject:
    """Tell a damaged header from a format that is not allowed and from no picture at all."""
    name = _announced_format(content[:16])
    if name is None:
        return Reject("not_an_image", f"the first bytes, {content[:8]!r}, begin no known picture format")
    if name in ALLOWED_FORMATS:
        return Reject("corrupt", f"it begins like {name}, but its header cannot be read")
    return Reject("denied_format", f"{name} is not among the allowed formats {', '.join(ALLOWED_FORMATS)}, MPO")


def _announced_format(prefix: bytes) -> str | None:
    """Return the format whose signature the file begins with. Signatures alone are compared; no decoder runs."""
    Image.init()
    for name in sorted(Image.OPEN, key=lambda name: name not in ALLOWED_FORMATS):
        accept = Image.OPEN[name][1]
        if accept is not None and _accepts(accept, prefix):
            return name
    return None


def _accepts(accept: Callable[[bytes], bool | str], prefix: bytes) -> bool:
    try:
        return bool(accept(prefix))
    except _ACCEPT_ERRORS:
        return False
