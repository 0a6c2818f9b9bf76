"""The `image` modality: the verbs, each a few lines over `decoding`, `encoding`, `views`, `variation` and `network`."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from aigc_pipeline.core.errors import ConfigError, DataError
from aigc_pipeline.data.shards import cells_from_numpy, cells_to_numpy
from aigc_pipeline.modalities.base import Facts, FloatArray, Reject, Variation
from aigc_pipeline.modalities.image.decoding import fit_picture, read_picture
from aigc_pipeline.modalities.image.encoding import contact_sheet, img_tag, png
from aigc_pipeline.modalities.image.network import residual_network, small_network
from aigc_pipeline.modalities.image.spec import SYMMETRIES, ImageSpec
from aigc_pipeline.modalities.image.variation import draw_variation, vary
from aigc_pipeline.modalities.image.views import shifted_views

_MIN_FITTED_PX, _MAX_FITTED_PX = 8, 64
_MAX_SIZE_PX = 256
_CHANNELS: dict[tuple[bool, bool], Literal[1, 2, 3, 4]] = {
    (True, False): 1, (True, True): 2, (False, False): 3, (False, True): 4,
}  # fmt: skip
"""By whether pictures are grey and whether they have alpha."""


class ImageModality:
    """See `Modality` for what each verb promises."""

    kind: ClassVar[str] = "image"
    extensions: ClassVar[frozenset[str]] = frozenset(
        {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".mpo"}
    )
    folder: ClassVar[str] = "images"
    suffix: ClassVar[str] = ".png"
    tolerance: ClassVar[float] = 1 / 255

    def inspect(self, content: bytes) -> Facts | Reject:
        """Decode fully; return size, mode, format, whether it is grey or has alpha, and mean and deviation of luma (0..255)."""
        picture = read_picture(content)
        if isinstance(picture, Reject):
            return picture
        mean, std = _luma_moments(picture.pixels)
        return {
            "width": picture.pixels.width,
            "height": picture.pixels.height,
            "mode": picture.file_mode,
            "format": picture.file_format,
            "is_grey": _is_grey(picture.pixels),
            "has_alpha": picture.has_alpha,
            "luma_mean": mean,
            "luma_std": std,
        }

    def fit(
        self, facts: pa.Table, *, size: int | None = None, symmetries: tuple[str, ...] = (), keep_alpha: bool = False
    ) -> ImageSpec:
        """Choose a square of the power of two nearest to the median short side, grey when every picture is.

        With `keep_alpha`, transparency is a channel where any picture has it.

        Raises:
            ConfigError: if `size` is outside 8..256 or a symmetry is unknown.
            DataError: if there is no picture to choose from.
        """
        if unknown := sorted(set(symmetries) - set(SYMMETRIES)):
            msg = f"unknown symmetries {unknown} of pictures; legal are {list(SYMMETRIES)}"
            raise ConfigError(msg)
        if not len(facts):
            msg = "there is no picture to choose the size from; the training split is empty"
            raise DataError(msg)
        side = _side_from(facts) if size is None else _checked(size)
        is_grey = all(facts["is_grey"].to_pylist())
        has_alpha = keep_alpha and any(facts["has_alpha"].to_pylist())
        return ImageSpec(
            height=side,
            width=side,
            channels=_CHANNELS[is_grey, has_alpha],
            symmetries=tuple(symmetry for symmetry in SYMMETRIES if symmetry in symmetries),
        )

    def decode(self, contents: Sequence[bytes], spec: ImageSpec) -> pa.Array:
        """Cut the centre to the spec's aspect and resize it.

        Raises:
            DataError: if a content cannot be decoded, which `inspect` would have said.
        """
        pixels = np.empty((len(contents), *spec.cell_shape), np.uint8)
        for index, content in enumerate(contents):
            picture = read_picture(content, keep_alpha=spec.has_alpha)
            if isinstance(picture, Reject):
                msg = f"picture {index} of {len(contents)} cannot be decoded: {picture.message}. Run ingest again."
                raise DataError(msg)
            pixels[index] = fit_picture(picture.pixels, height=spec.height, width=spec.width, channels=spec.channels)
        return cells_from_numpy(pixels)

    def to_tensor(self, cells: pa.Array, spec: ImageSpec) -> Float[Tensor, "n c h w"]:
        """Map 0..255 to [-1, 1]."""
        pixels = torch.from_numpy(_pixels(cells, spec).astype(np.float32))
        return pixels.div_(127.5).sub_(1).movedim(-1, 1).contiguous()  # in place: whole training splits pass here

    def from_tensor(self, x: Float[Tensor, "n c h w"], spec: ImageSpec) -> pa.Array:
        """Clamp to [-1, 1] and round to the nearest of 256 steps."""
        values = x.detach().float()
        half_up = values.new_full((), 128.0)  # 127.5 and the half that makes cutting the fraction off a rounding
        steps = torch.add(half_up, values, alpha=127.5).clamp_(0, 255).to(torch.uint8)
        return cells_from_numpy(steps.movedim(1, -1).cpu().numpy().reshape(-1, *spec.cell_shape))

    def views(self, cells: pa.Array, spec: ImageSpec) -> Iterator[FloatArray]:
        """Yield the pictures in [0, 1], their shifts by 1 px (2 px from 28 px on), and the same for legal mirrorings."""
        return shifted_views(_pixels(cells, spec), spec.symmetries)

    def encode(self, cells: pa.Array, spec: ImageSpec) -> list[bytes] | None:
        """Return PNG files."""
        return [png(pixels) for pixels in _pixels(cells, spec)]

    def columns(self, cells: pa.Array, spec: ImageSpec) -> pa.Table:
        """Return the columns `width` and `height`, in px."""
        return pa.table(
            {
                "width": pa.array(np.full(len(cells), spec.width, np.int32)),
                "height": pa.array(np.full(len(cells), spec.height, np.int32)),
            }
        )

    def html(self, cells: pa.Array, spec: ImageSpec) -> list[str]:
        """Show each picture at 64 px or more, with hard pixel edges."""
        return [img_tag(pixels) for pixels in _pixels(cells, spec)]

    def grid(self, cells: pa.Array, spec: ImageSpec, columns: int) -> bytes | None:
        """Return a contact sheet."""
        return png(contact_sheet(_pixels(cells, spec), columns=columns))

    def network(self, spec: ImageSpec, out_features: int, *, is_large: bool = False) -> nn.Module:
        """Return a convolutional network of 3 to 5 layers, or a residual network of 14."""
        return residual_network(spec, out_features) if is_large else small_network(spec, out_features)

    def draw_variation(
        self, num_samples: int, generator: torch.Generator, spec: ImageSpec, *, strength: float = 1.0
    ) -> Variation:
        """Draw legal mirrorings, small rotations, scales and shifts, and an elastic field."""
        return draw_variation(num_samples, generator, spec, strength)

    def vary(
        self, x: Float[Tensor, "n c h w"], variation: Variation, spec: ImageSpec, *, is_sharp: bool = False
    ) -> Float[Tensor, "n c h w"]:
        """Resample each picture once, through all of its variation; bilinear, or bicubic where `is_sharp`."""
        return vary(x, variation, spec, is_sharp=is_sharp)


def _pixels(cells: pa.Array, spec: ImageSpec) -> NDArray[np.uint8]:
    return cells_to_numpy(cells, spec.cell_shape).astype(np.uint8, copy=False)


def _luma_moments(image: Image.Image) -> tuple[float, float]:
    counts = np.array(image.convert("L").histogram(), np.float64)
    levels = np.arange(256)
    mean = float(counts @ levels / counts.sum())
    return mean, float(np.sqrt(counts @ np.square(levels - mean) / counts.sum()))


def _is_grey(image: Image.Image) -> bool:
    if image.mode == "L":
        return True
    pixels = np.asarray(image)
    return bool((pixels == pixels[..., :1]).all())


def _side_from(facts: pa.Table) -> int:
    short_sides = np.minimum(facts["width"].to_numpy(), facts["height"].to_numpy())
    nearest = 1 << round(float(np.log2(np.median(short_sides))))
    return min(max(nearest, _MIN_FITTED_PX), _MAX_FITTED_PX)


def _checked(size: int) -> int:
    if not _MIN_FITTED_PX <= size <= _MAX_SIZE_PX:
        msg = f"a picture's size must be from {_MIN_FITTED_PX} to {_MAX_SIZE_PX} px, not {size}"
        raise ConfigError(msg)
    return size
