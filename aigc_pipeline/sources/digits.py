"""Scikit-learn's handwritten digits (UCI, 1,797 pictures of 8x8 px): a picture dataset that needs no download.

By default the training pool is cut to a long tail, the case that augmentation is for, and the test split is balanced.
"""

from collections.abc import Iterator
from io import BytesIO
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from aigc_pipeline.core.samples import RawSample, Role
from aigc_pipeline.core.seeding import numpy_generator
from aigc_pipeline.core.strict import Member
from aigc_pipeline.sources.base import Listing

_CLASS_SIZES = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)  # known here, so that listing imports no scikit-learn
_MAX_VALUE = 16


class Digits(Member):
    """Give `test_per_class` pictures of each digit to the test split and the rest, or a long tail of it, to the pool."""

    handles: ClassVar[frozenset[str] | None] = frozenset({"image"})

    kind: Literal["digits"] = "digits"
    test_per_class: int = Field(default=54, ge=0, le=min(_CLASS_SIZES) - 1)
    """Pictures per class that the source declares as test; 0 leaves the test split to the pipeline."""
    long_tail: bool = True
    """Thin the pool out from digit 0 (`commonest`) to digit 9 (`rarest`); False keeps all of it."""
    commonest: int = Field(default=126, ge=1)
    """Pool pictures of digit 0 in a long tail, as far as there are so many."""
    rarest: int = Field(default=30, ge=1)
    """Pool pictures of digit 9 in a long tail, as far as there are so many."""
    seed: int = 0
    """Seed of the shuffle within each class."""

    @property
    def modality(self) -> str:
        """Pictures."""
        return "image"

    def listing(self) -> Listing:
        """Return the settings' digest: equal settings give equal pictures."""
        total = sum(self.test_per_class + self.num_pool(digit) for digit in range(len(_CLASS_SIZES)))
        return Listing(total, self.digest(), f"scikit-learn digits, {total} pictures of 8x8 px")

    def records(self) -> Iterator[RawSample]:
        """Yield the pictures digit by digit, the test pictures of a digit before its pool."""
        from sklearn.datasets import load_digits  # it takes a second, which `aigc --help` should not

        dataset = load_digits()
        for digit, size in enumerate(_CLASS_SIZES):
            order = numpy_generator(self.seed, "digits", digit).permutation(size)
            rows = np.flatnonzero(dataset.target == digit)[order]
            for place, row in enumerate(rows[: self.test_per_class + self.num_pool(digit)]):
                role: Role | None = "test" if place < self.test_per_class else None
                yield RawSample(f"digits/{digit}/{row:04d}.png", str(digit), _png(dataset.images[row]), role)

    def num_pool(self, digit: int) -> int:
        """Return how many pictures of a digit lie outside the test split."""
        available = _CLASS_SIZES[digit] - self.test_per_class
        if not self.long_tail:
            return available
        share = digit / (len(_CLASS_SIZES) - 1)
        wanted: float = self.commonest * (self.rarest / self.commonest) ** share
        return min(available, round(wanted))


def _png(values: NDArray[np.float64]) -> bytes:
    """Return an 8x8 grey PNG of intensities 0..16."""
    pixels = np.rint(values * 255 / _MAX_VALUE).astype(np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
