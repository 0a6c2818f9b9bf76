"""The verbs of the image modality: facts, fitting, cells, tensors, views, files."""

import base64
import re
from io import BytesIO
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from aigc_pipeline.core.errors import ConfigError, DataError
from aigc_pipeline.data.shards import cells_from_numpy
from aigc_pipeline.modalities.base import Reject
from aigc_pipeline.modalities.image import ImageModality, ImageSpec

MODALITY = ImageModality()
TINY = ImageSpec(height=8, width=8, channels=1)


def png_of(values: NDArray[np.uint8]) -> bytes:
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return buffer.getvalue()


def random_pixels(spec: ImageSpec, num_samples: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (num_samples, *spec.cell_shape), dtype=np.uint8)


def facts(sides: list[tuple[int, int]], *, is_grey: bool = True, has_alpha: bool = False) -> pa.Table:
    return pa.table(
        {
            "width": [w for w, _ in sides],
            "height": [h for _, h in sides],
            "is_grey": [is_grey] * len(sides),
            "has_alpha": [has_alpha] * len(sides),
        }
    )


def smallest_distance(spec: ImageSpec, changed: NDArray[np.uint8], original: NDArray[np.uint8]) -> float:
    target = next(MODALITY.views(cells_from_numpy(original), spec))
    views = list(MODALITY.views(cells_from_numpy(changed), spec))
    return min(float(np.sqrt(np.square(view - target).mean(axis=1)).max()) for view in views)


def test_inspect_reports_size_and_luma() -> None:
    values = np.zeros((4, 6), np.uint8)
    values[:2] = 200

    found = MODALITY.inspect(png_of(values))

    assert found == {
        "width": 6,
        "height": 4,
        "mode": "L",
        "format": "PNG",
        "is_grey": True,
        "has_alpha": False,
        "luma_mean": 100.0,
        "luma_std": 100.0,
    }


def test_grey_picture_saved_as_rgb_counts_as_grey() -> None:
    grey = np.repeat(random_pixels(TINY)[0], 3, axis=2)
    found = MODALITY.inspect(png_of(grey))

    assert not isinstance(found, Reject)
    assert found["is_grey"] is True


def test_one_colored_pixel_makes_a_picture_colored() -> None:
    values = np.full((4, 4, 3), 9, np.uint8)
    values[0, 0] = (9, 9, 10)
    found = MODALITY.inspect(png_of(values))

    assert not isinstance(found, Reject)
    assert found["is_grey"] is False


def test_inspect_passes_a_refusal_on() -> None:
    assert isinstance(MODALITY.inspect(b"text"), Reject)


@pytest.mark.parametrize(("short_side", "side"), [(3, 8), (8, 8), (28, 32), (22, 16), (23, 32), (640, 64)])
def test_fit_takes_the_nearest_power_of_two(short_side: int, side: int) -> None:
    spec = MODALITY.fit(facts([(short_side, short_side + 5)]))

    assert spec.shape == (1, side, side)


def test_fit_looks_at_the_median_short_side() -> None:
    spec = MODALITY.fit(facts([(16, 900), (900, 16), (500, 500)]))

    assert spec.height == 16


def test_one_colored_picture_makes_the_spec_colored() -> None:
    mixed = pa.concat_tables([facts([(8, 8)] * 5), facts([(8, 8)], is_grey=False)])

    assert MODALITY.fit(mixed).channels == 3


def test_fit_follows_the_users_size() -> None:
    assert MODALITY.fit(facts([(28, 28)]), size=200).shape == (1, 200, 200)


@pytest.mark.parametrize("size", [7, 257])
def test_fit_refuses_a_size_out_of_range(size: int) -> None:
    with pytest.raises(ConfigError, match=f"8 to 256 px, not {size}"):
        MODALITY.fit(facts([(28, 28)]), size=size)


def test_fit_refuses_an_unknown_symmetry_and_lists_the_legal_ones() -> None:
    with pytest.raises(ConfigError, match=r"\['diagonal'\].*\['horizontal', 'vertical'\]"):
        MODALITY.fit(facts([(8, 8)]), symmetries=("diagonal",))


def test_fit_refuses_an_empty_split() -> None:
    with pytest.raises(DataError, match="empty"):
        MODALITY.fit(facts([]))


def test_decode_keeps_pixels_of_the_right_size() -> None:
    pixels = random_pixels(TINY)

    cells = MODALITY.decode([png_of(each[..., 0]) for each in pixels], TINY)

    assert cells.equals(cells_from_numpy(pixels))


def test_decode_names_the_picture_it_cannot_read() -> None:
    with pytest.raises(DataError, match="picture 1 of 2"):
        MODALITY.decode([png_of(random_pixels(TINY)[0, ..., 0]), b"text"], TINY)


@pytest.mark.parametrize("channels", [1, 3])
def test_cells_survive_the_round_trip_through_tensors(channels: Literal[1, 3]) -> None:
    spec = ImageSpec(height=16, width=16, channels=channels)
    pixels = np.arange(16 * 16 * channels, dtype=np.uint16).astype(np.uint8).reshape(1, 16, 16, channels)
    cells = cells_from_numpy(pixels)

    assert MODALITY.from_tensor(MODALITY.to_tensor(cells, spec), spec).equals(cells)


def test_tensor_is_channels_first_from_minus_one_to_one() -> None:
    spec = ImageSpec(height=2, width=3, channels=3)
    pixels = np.zeros((1, 2, 3, 3), np.uint8)
    pixels[0, 1, 2, 0] = 255

    x = MODALITY.to_tensor(cells_from_numpy(pixels), spec)

    assert x.shape == (1, *spec.shape)
    assert x[0, 0, 1, 2] == 1
    assert x.sum() == 1 - 17


def test_network_output_beyond_the_range_is_clamped() -> None:
    x = torch.tensor([-7.0, -1.0, 0.0, 1.0, 7.0]).repeat(8, 1).reshape(1, 1, 8, 5)
    cells = MODALITY.from_tensor(x, ImageSpec(height=8, width=5, channels=1))

    assert cells[0].as_py()[:5] == [0, 0, 128, 255, 255]


@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_survive_the_round_trip_through_files(channels: Literal[1, 3]) -> None:
    spec = ImageSpec(height=8, width=12, channels=channels)
    cells = cells_from_numpy(random_pixels(spec))
    files = MODALITY.encode(cells, spec)
    assert files is not None

    assert MODALITY.decode(files, spec).equals(cells)
    assert MODALITY.encode(cells, spec) == files


def test_a_slice_of_cells_reads_like_the_rows_it_shows() -> None:
    pixels = random_pixels(TINY, 5)
    part = cells_from_numpy(pixels).slice(2, 2)

    assert torch.equal(MODALITY.to_tensor(part, TINY), MODALITY.to_tensor(cells_from_numpy(pixels[2:4]), TINY))


def test_first_view_is_the_middle_of_the_picture() -> None:
    pixels = random_pixels(TINY)

    first = next(MODALITY.views(cells_from_numpy(pixels), TINY))

    assert first.dtype == np.float32
    middle = pixels[:, 1:-1, 1:-1].reshape(3, -1)
    assert np.array_equal(first, middle.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize(("side", "num_views"), [(8, 9), (27, 9), (28, 25), (32, 25), (64, 25)])
def test_views_reach_further_in_larger_pictures(side: int, num_views: int) -> None:
    spec = ImageSpec(height=side, width=side, channels=1)

    assert len(list(MODALITY.views(cells_from_numpy(random_pixels(spec)), spec))) == num_views


def test_views_reduce_large_pictures_by_area() -> None:
    spec = ImageSpec(height=64, width=64, channels=3)
    pixels = random_pixels(spec, 1)

    first = next(MODALITY.views(cells_from_numpy(pixels), spec))

    means = pixels.reshape(32, 2, 32, 2, 3).mean(axis=(1, 3)) / 255
    assert np.allclose(first.reshape(28, 28, 3), means[2:-2, 2:-2], atol=1e-6)


@pytest.mark.parametrize("shift", [(1, 0), (0, -1), (-1, 1)])
def test_shifted_copy_is_found_at_distance_zero(shift: tuple[int, int]) -> None:
    original = np.zeros((1, 8, 8, 1), np.uint8)
    original[:, 2:6, 2:6] = random_pixels(TINY, 1)[:, 2:6, 2:6]

    assert smallest_distance(TINY, np.roll(original, shift, axis=(1, 2)), original) == 0


@pytest.mark.parametrize("shift", [(1, 0), (0, -1), (-1, 1)])
def test_what_a_shift_pushes_out_of_the_picture_does_not_hide_a_copy(shift: tuple[int, int]) -> None:
    larger = random_pixels(ImageSpec(height=10, width=10, channels=1), 1)
    original, shifted = larger[:, 1:9, 1:9], larger[:, 1 + shift[0] : 9 + shift[0], 1 + shift[1] : 9 + shift[1]]

    assert smallest_distance(TINY, shifted, original) == 0


def test_mirrored_copy_is_found_only_where_mirroring_is_legal() -> None:
    original = random_pixels(TINY, 1)
    legal = TINY.model_copy(update={"symmetries": ("horizontal",)})

    assert smallest_distance(legal, original[:, :, ::-1], original) == 0
    assert smallest_distance(TINY, original[:, :, ::-1], original) > 0.1


def test_two_legal_mirrorings_legalize_the_half_turn() -> None:
    original = random_pixels(TINY, 1)
    legal = TINY.model_copy(update={"symmetries": ("horizontal", "vertical")})

    assert smallest_distance(legal, original[:, ::-1, ::-1], original) == 0


def test_one_grey_step_everywhere_is_one_tolerance_apart() -> None:
    original = np.full((1, 8, 8, 1), 100, np.uint8)

    assert smallest_distance(TINY, original + 1, original) == pytest.approx(MODALITY.tolerance, rel=1e-4)


def test_columns_state_the_size() -> None:
    spec = ImageSpec(height=8, width=12, channels=1)

    table = MODALITY.columns(cells_from_numpy(random_pixels(spec, 2)), spec)

    assert table.to_pylist() == [{"width": 12, "height": 8}] * 2
    assert table.schema.types == [pa.int32(), pa.int32()]


def test_html_carries_the_picture_and_enlarges_it_by_a_whole_number() -> None:
    pixels = random_pixels(TINY, 1)

    (fragment,) = MODALITY.html(cells_from_numpy(pixels), TINY)

    data = re.search(r"data:image/png;base64,([^\"]+)", fragment)
    assert data is not None
    assert np.array_equal(np.asarray(Image.open(BytesIO(base64.b64decode(data[1])))), pixels[0, ..., 0])
    assert 'width="64" height="64"' in fragment
    assert "alt=" in fragment


def test_grid_lays_samples_out_row_by_row() -> None:
    pixels = np.zeros((3, 32, 32, 3), np.uint8)
    pixels[2] = (255, 0, 0)
    spec = ImageSpec(height=32, width=32, channels=3)
    sheet_file = MODALITY.grid(cells_from_numpy(pixels), spec, 2)
    assert sheet_file is not None

    sheet = np.asarray(Image.open(BytesIO(sheet_file)))

    assert sheet.shape == (68, 68, 3)
    assert sheet[40, 5].tolist() == [255, 0, 0]
    assert sheet[40, 40].tolist() == [255, 255, 255]


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (28, 28), (64, 40), (256, 256), (8, 256)])
def test_network_takes_any_size(size: tuple[int, int]) -> None:
    spec = ImageSpec(height=size[0], width=size[1], channels=3)
    network = MODALITY.network(spec, 5)

    assert network(torch.zeros(2, *spec.shape)).shape == (2, 5)
    assert sum(each.numel() for each in network.parameters()) < 500_000


def test_network_output_does_not_depend_on_the_batch() -> None:
    network = MODALITY.network(TINY, 4)
    x = torch.randn(16, *TINY.shape, generator=torch.Generator().manual_seed(0))

    assert torch.allclose(network(x)[3:4], network(x[3:4]), atol=1e-5)


def test_spec_survives_json() -> None:
    spec = ImageSpec(height=8, width=8, channels=3, symmetries=("vertical",))

    assert ImageSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(("is_grey", "channels"), [(True, 2), (False, 4)])
def test_alpha_is_a_channel_where_it_is_asked_for_and_there(is_grey, channels) -> None:
    seen = facts([(8, 8)], is_grey=is_grey, has_alpha=True)

    assert MODALITY.fit(seen, keep_alpha=True).channels == channels
    assert MODALITY.fit(seen).channels == channels - 1
    assert MODALITY.fit(facts([(8, 8)], is_grey=is_grey), keep_alpha=True).channels == channels - 1
    one_of_two = pa.concat_tables([seen, facts([(8, 8)], is_grey=is_grey)])
    assert MODALITY.fit(one_of_two, keep_alpha=True).channels == channels
    assert MODALITY.fit(one_of_two).channels == channels - 1


@pytest.mark.parametrize("channels", [2, 4])
def test_pictures_with_alpha_come_back_from_their_files(channels) -> None:
    spec = ImageSpec(height=8, width=8, channels=channels)
    pixels = random_pixels(spec)
    pixels[..., -1] = pixels[..., -1].clip(1)
    cells = cells_from_numpy(pixels)
    files = MODALITY.encode(cells, spec)

    assert files is not None
    assert MODALITY.decode(files, spec).equals(cells)
    assert MODALITY.from_tensor(MODALITY.to_tensor(cells, spec), spec).equals(cells)
    assert Image.open(BytesIO(MODALITY.grid(cells, spec, 2) or b"")).mode == {2: "LA", 4: "RGBA"}[channels]


def test_colour_that_nobody_sees_is_white_and_opaque_pictures_are_opaque() -> None:
    hidden = np.zeros((8, 8, 4), np.uint8)
    hidden[:, 4:] = [10, 20, 30, 255]
    spec = ImageSpec(height=8, width=8, channels=4)
    cells = MODALITY.decode([png_of(hidden), png_of(hidden[:, :, :3])], spec)
    first, second = np.array(cells.to_pylist(), np.uint8).reshape(2, 8, 8, 4)

    assert first[0, 0].tolist() == [255, 255, 255, 0]
    assert first[0, 7].tolist() == [10, 20, 30, 255]
    assert (second[..., 3] == 255).all()


def test_alpha_is_a_fact_though_the_facts_look_at_the_picture_on_white() -> None:
    found = MODALITY.inspect(png_of(np.zeros((4, 4, 4), np.uint8)))

    assert isinstance(found, dict)
    assert found["has_alpha"] is True
    assert found["luma_mean"] == 255.0
