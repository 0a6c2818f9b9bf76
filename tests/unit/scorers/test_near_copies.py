"""Planted copies on real digits: the near-copy screen must catch them and leave unseen real digits alone."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from aigc_pipeline.data.shards import cells_from_numpy, cells_to_numpy
from aigc_pipeline.features.neighbours import nearest_over_views
from aigc_pipeline.features.views import first_view, view_blocks
from aigc_pipeline.gates import NotMemorised
from aigc_pipeline.modalities import ImageSpec, modality_of
from aigc_pipeline.sources import Digits

SPEC = ImageSpec(height=8, width=8, channels=1)
FLOOR = 8 / 255


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    contents = [record.content for record in Digits(long_tail=False).records() if record.content]
    cells = modality_of(SPEC).decode(contents, SPEC)
    pixels = cells_to_numpy(cells, (8, 8, 1))
    return pixels[np.random.default_rng(0).permutation(len(pixels))]


@pytest.fixture(scope="module")
def screen(digits):
    """Return a function that tells which of some pictures pass, screened against 800 training digits."""
    train, holdout = digits[:800], digits[800:1100]
    reference = first_view(cells_from_numpy(train), SPEC)

    def distance(pictures: np.ndarray) -> np.ndarray:
        return nearest_over_views(view_blocks(cells_from_numpy(pictures), SPEC), reference)[0]

    threshold = max(float(np.quantile(distance(holdout), 0.01)), FLOOR)

    def passes(pictures: np.ndarray) -> np.ndarray:
        n = len(pictures)
        return NotMemorised().judge(
            pa.table({"train_distance": distance(pictures), "copy_threshold": np.full(n, threshold)})
        )

    return passes


def test_exact_copies_are_all_caught(screen, digits):
    assert not screen(digits[:200]).any()


@pytest.mark.parametrize(("rows", "columns"), [(1, 0), (-1, 0), (0, 1), (1, 1)])
def test_copies_shifted_by_a_pixel_are_all_caught(screen, digits, rows, columns):
    padded = np.pad(digits[:200], ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    shifted = padded[:, 1 - rows : 9 - rows, 1 - columns : 9 - columns]
    interior = np.abs(shifted.astype(int) - digits[:200]).reshape(200, -1).max(1) > 0

    assert interior.any()
    assert not screen(np.ascontiguousarray(shifted)).any()


def test_copies_with_a_little_noise_are_caught(screen, digits):
    noise = np.random.default_rng(1).normal(0, 0.05 * 255, (200, 8, 8, 1))
    noisy = np.clip(digits[:200] + noise, 0, 255).astype(np.uint8)

    assert screen(noisy).mean() <= 0.05


@pytest.mark.parametrize("quality", [90, 75])
def test_copies_that_went_through_jpeg_are_caught(screen, digits, quality):
    assert screen(np.stack([_compressed(picture, quality) for picture in digits[:200]])).mean() <= 0.05


def test_mirrored_copies_are_caught_where_mirroring_is_legal_and_only_there(digits):
    mirrored = cells_from_numpy(np.ascontiguousarray(digits[:100, :, ::-1]))
    legal = SPEC.model_copy(update={"symmetries": ("horizontal",)})
    reference = first_view(cells_from_numpy(digits[:800]), SPEC)

    assert (nearest_over_views(view_blocks(mirrored, legal), reference)[0] == 0).all()
    assert (nearest_over_views(view_blocks(mirrored, SPEC), reference)[0] > 0).mean() > 0.9


def test_unseen_real_digits_hardly_ever_raise_a_false_alarm(screen, digits):
    assert (~screen(digits[1100:1797])).mean() <= 0.02


def _compressed(picture: np.ndarray, quality: int) -> np.ndarray:
    stored = io.BytesIO()
    Image.fromarray(picture[..., 0]).save(stored, "jpeg", quality=quality)
    return np.asarray(Image.open(stored))[..., None]
