"""What becomes of awkward picture files: every damage has its code, every oddity a stated appearance."""

import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFile

from aigc_pipeline.modalities.base import Reject
from aigc_pipeline.modalities.image.decoding import Picture, fit_picture, read_picture


def file_of(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def png_announcing(width: int, height: int) -> bytes:
    """Return a PNG that is nothing but its header and one empty data chunk."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def pixels_of(content: bytes) -> np.ndarray:
    picture = read_picture(content)
    assert isinstance(picture, Picture), picture
    return np.asarray(picture.pixels)


PNG, JPEG = file_of(noise()), file_of(noise(), "JPEG")
DAMAGED = {
    "zero bytes": (b"", "zero_byte"),
    "text": (b"just a note about the data\n", "not_an_image"),
    "html": (b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image"),
    "svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_an_image"),
    "one byte": (b"a", "not_an_image"),
    "eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "denied_format"),
    "ppm": (file_of(noise(), "PPM"), "denied_format"),
    "ico": (file_of(noise(), "ICO"), "denied_format"),
    "half a jpeg": (JPEG[: len(JPEG) // 2], "truncated"),
    "half a png": (PNG[: len(PNG) // 2], "truncated"),
    "half a bmp": (file_of(noise(), "BMP")[:2000], "truncated"),
    "half a gif": (file_of(noise(), "GIF")[:1200], "truncated"),
    "half a webp": (file_of(noise(), "WEBP")[:300], "corrupt"),
    "png cut in its header": (PNG[:20], "truncated"),
    "jpeg cut in its header": (JPEG[:12], "truncated"),
    "png cut after its signature": (PNG[:8], "corrupt"),
    "png with a broken chunk": (PNG[:60] + b"\xff" * 20 + PNG[80:], "corrupt"),
    "png of no width": (png_announcing(0, 5), "corrupt"),
    "bomb that Pillow lets pass": (png_announcing(8_001, 8_000), "decompression_bomb"),
    "bomb that Pillow warns of": (png_announcing(12_000, 12_000), "decompression_bomb"),
    "bomb that Pillow refuses": (png_announcing(30_000, 30_000), "decompression_bomb"),
}


@pytest.mark.parametrize(("content", "code"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_file_is_refused_with_its_code(content: bytes, code: str) -> None:
    found = read_picture(content)

    assert isinstance(found, Reject)
    assert found.code == code
    assert found.message


def test_truncated_pictures_are_not_tolerated_process_wide() -> None:
    read_picture(JPEG[: len(JPEG) // 2])

    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("cut", range(0, len(JPEG), 97))
def test_no_cut_of_a_jpeg_gets_through_or_raises(cut: int) -> None:
    assert isinstance(read_picture(JPEG[:cut]), Reject)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_mutated_file_never_raises(file_format: str) -> None:
    generator = np.random.default_rng(1)
    content = file_of(noise(size=(12, 9)), file_format)

    for _ in range(60):
        damaged = np.frombuffer(content, np.uint8).copy()
        places = generator.integers(0, min(len(damaged), 120), 4)
        damaged[places] = generator.integers(0, 256, 4)
        assert isinstance(read_picture(damaged.tobytes()), Picture | Reject)


def test_sixteen_bit_grey_is_scaled_by_its_range_not_clipped() -> None:
    values = np.array([[0, 257, 32_896, 65_535]], np.uint16)

    assert pixels_of(file_of(Image.fromarray(values))).tolist() == [[0, 1, 128, 255]]


def test_big_endian_sixteen_bit_tiff_reads_like_little_endian() -> None:
    values = np.array([[0, 257, 32_896, 65_535]], ">u2")
    image = Image.frombytes("I;16B", (4, 1), values.tobytes())

    assert pixels_of(file_of(image, "TIFF")).tolist() == [[0, 1, 128, 255]]


def test_thirty_two_bit_picture_is_scaled_by_its_maximum() -> None:
    values = np.array([[0, 100_000, 200_000]], np.int32)

    assert pixels_of(file_of(Image.fromarray(values), "TIFF")).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("values", [[-1_000, 0, 1_000], [-255, -128, -1]])
def test_signed_picture_is_scaled_from_its_minimum(values: list[int]) -> None:
    content = file_of(Image.fromarray(np.array([values], np.int32)), "TIFF")

    assert pixels_of(content).tolist() == [[0, 128, 255]]


def test_float_picture_is_scaled_from_its_minimum_to_its_maximum() -> None:
    values = np.array([[-1.0, 0.0, 1.0]], np.float32)

    assert pixels_of(file_of(Image.fromarray(values), "TIFF")).tolist() == [[0, 128, 255]]


def test_float_picture_of_one_value_becomes_black() -> None:
    assert pixels_of(file_of(Image.fromarray(np.full((1, 2), 7, np.float32)), "TIFF")).tolist() == [[0, 0]]


def test_float_picture_with_nan_is_refused() -> None:
    found = read_picture(file_of(Image.fromarray(np.array([[0, np.nan]], np.float32)), "TIFF"))

    assert isinstance(found, Reject)
    assert "NaN" in found.message


def test_one_bit_picture_becomes_black_and_white() -> None:
    image = Image.fromarray(np.array([[True, False]]))

    assert pixels_of(file_of(image)).tolist() == [[255, 0]]


def test_cmyk_jpeg_shows_its_color() -> None:
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))

    red = pixels_of(file_of(image, "JPEG"))[8, 8]

    assert np.abs(red.astype(int) - [255, 0, 0]).max() <= 3


def test_hidden_color_under_full_transparency_turns_white() -> None:
    image = Image.new("RGBA", (2, 1), (255, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 255, 255))

    assert pixels_of(file_of(image)).tolist() == [[[255, 255, 255], [0, 0, 255]]]


def test_half_transparent_grey_lightens_and_stays_grey() -> None:
    image = Image.new("LA", (1, 1), (0, 127))

    assert pixels_of(file_of(image)).tolist() == [[128]]


def test_transparent_palette_entry_turns_white() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)

    assert pixels_of(file_of(image, transparency=0)).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_animation_gives_its_first_frame() -> None:
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")

    pixels = pixels_of(file_of(first, "GIF", save_all=True, append_images=[second]))

    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_multi_picture_jpeg_is_allowed() -> None:
    picture = read_picture(file_of(noise(), "MPO", save_all=True, append_images=[noise()]))

    assert isinstance(picture, Picture)
    assert picture.file_format == "MPO"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_orientation_6_is_turned_a_quarter_clockwise(file_format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("L", (16, 8), 0).convert("RGB")
    image.paste("white", (0, 0, 8, 8))

    pixels = pixels_of(file_of(image, file_format, exif=exif))

    assert pixels.shape[:2] == (16, 8)
    assert pixels[:6].mean() > 250 > 5 > pixels[10:].mean()


@pytest.mark.parametrize(
    ("orientation", "corners"),
    [
        (1, "abcd"), (2, "badc"), (3, "dcba"), (4, "cdab"), (5, "acbd"), (6, "cadb"), (7, "dbca"), (8, "bdac"), (9, "abcd"),
    ],
)  # fmt: skip
def test_every_orientation_is_turned_upright(orientation: int, corners: str) -> None:
    """Corners are read top left, top right, bottom left, bottom right (EXIF 2.3, tag 274)."""
    values = {"a": 10, "b": 80, "c": 150, "d": 220}
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.array([[10, 80], [150, 220]], np.uint8))

    pixels = pixels_of(file_of(image, "PNG", exif=exif))

    assert pixels.ravel().tolist() == [values[corner] for corner in corners]


def test_single_pixel_is_a_picture() -> None:
    assert pixels_of(file_of(Image.new("L", (1, 1), 77))).tolist() == [[77]]


def test_picture_of_the_target_size_is_returned_as_it_is() -> None:
    image = noise(size=(8, 8))

    assert np.array_equal(fit_picture(image, height=8, width=8, channels=3), np.asarray(image))


def test_long_picture_is_cut_at_both_ends() -> None:
    image = Image.new("L", (32, 8), 0)
    image.paste(200, (12, 0, 20, 8))

    assert (fit_picture(image, height=8, width=8, channels=1) == 200).all()


def test_reducing_averages_instead_of_skipping_pixels() -> None:
    stripes = np.tile(np.array([0, 254], np.uint8), (64, 32))

    reduced = fit_picture(Image.fromarray(stripes), height=8, width=8, channels=1)

    assert np.abs(reduced.astype(int) - 127).max() <= 6
