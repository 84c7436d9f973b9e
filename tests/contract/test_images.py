"""Image bytes to pixels: every kind of file that a camera or a drawing program writes."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app.contract.images import ImageProcessor, decode, dihedral_views
from app.errors import InputTooLarge, UndecodableImage, UnsupportedMediaType
from tests.model_repository import encoded, picture

DRAFT_DRIFT = 1.5  # of 255, mean over a picture: what decoding a large JPEG at a reduced size may change


def quadrants() -> Image.Image:
    """Red, green / blue, white: any turn or reflection shows. 64 x 32 px."""
    pixels = np.zeros((32, 64, 3), dtype=np.uint8)
    pixels[:16, :32], pixels[:16, 32:], pixels[16:, :32], pixels[16:, 32:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    return Image.fromarray(pixels)


def photograph(width: int, height: int) -> Image.Image:
    """Smooth shapes and some noise, as in a photograph."""
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 255, (12, 16, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    noise = random.normal(0, 4, (height, width, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1))


def array(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(decode(data))


# How an upright picture must be stored for each EXIF orientation to turn it upright again.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_exif_orientation_comes_out_upright(orientation: int, image_format: str) -> None:
    turn = STORED[orientation]
    stored = quadrants() if turn is None else quadrants().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if image_format == "JPEG" else {"lossless": True} if image_format == "WEBP" else {}
    image = decode(encoded(stored, image_format, exif=exif, **options))
    assert image.size == (64, 32)
    centres = [image.getpixel((x, y)) for y in (8, 24) for x in (16, 48)]
    expected = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]
    assert np.abs(np.array(centres) - np.array(expected)).max() <= 4


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_a_meaningless_orientation_changes_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert decode(encoded(quadrants(), "JPEG", exif=exif)).size == (64, 32)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_spoil_the_picture() -> None:
    data = encoded(quadrants(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert decode(data).size == (64, 32)


def test_cmyk_becomes_rgb() -> None:
    red = array(encoded(Image.new("RGB", (20, 20), (255, 0, 0)).convert("CMYK"), "JPEG"))
    assert np.abs(red.astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize(("deep", "expected"), [(0, 0), (257 * 100, 100), (40_000, 156), (65_535, 255)])
def test_16_bit_grey_is_scaled_not_clipped(deep: int, expected: int) -> None:
    data = encoded(Image.fromarray(np.full((20, 20), deep, dtype=np.uint16)))
    assert (array(data) == expected).all()


def test_the_transparent_shade_of_16_bit_grey_is_laid_over_white() -> None:
    """40,000 and 40,001 are one shade of 8 bits; one of them is transparent."""
    shades = np.repeat(np.array([[40_000], [40_001]], dtype=np.uint16), 20, axis=1)
    file = io.BytesIO()
    Image.fromarray(shades).save(file, "PNG", transparency=40_000)
    assert array(file.getvalue())[:, 0, 0].tolist() == [255, 156]


def rgb_png_16_bit(value: int) -> bytes:
    """A PNG of 2 x 2 px with three channels of 16 bits, which Pillow reads and does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + struct.pack(">6H", *[value] * 6)) * 2
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 16, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("deep", "expected"), [(0, 0), (0x8000, 128), (0xFFFF, 255)])
def test_16_bit_rgb_is_scaled_not_clipped(deep: int, expected: int) -> None:
    assert np.abs(array(rgb_png_16_bit(deep)).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(("alpha", "expected"), [(0, 255), (255, 0), (128, 127)])
def test_transparency_is_laid_over_white(mode: str, alpha: int, expected: int) -> None:
    black = Image.new("RGBA", (20, 20), (0, 0, 0, alpha)).convert(mode)
    assert np.abs(array(encoded(black)).astype(int) - expected).max() <= 1


def test_a_palette_with_transparency_is_laid_over_white() -> None:
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    assert (array(encoded(palette, transparency=1)) == 255).all()
    assert (array(encoded(palette)) == (200, 100, 50)).all()
    assert (array(encoded(palette, transparency=0)) == (200, 100, 50)).all()


@pytest.mark.parametrize("mode", ["1", "L"])
def test_black_and_white_and_grey_become_rgb(mode: str) -> None:
    assert (array(encoded(Image.new(mode, (20, 20), 255))) == 255).all()


def test_a_jpeg_with_a_second_picture_behind_the_first_is_read() -> None:
    """Telephones append a gain map or a thumbnail (MPO): still one photograph."""
    first, second = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (20, 20), "blue")
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    assert decode(buffer.getvalue(), draft_side_px=10).size == (20, 20)
    image = decode(buffer.getvalue())
    assert image.size == (40, 40)
    assert np.abs(np.asarray(image).astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_an_animation_is_refused(image_format: str) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], duration=100)
    with pytest.raises(UnsupportedMediaType, match="send one frame"):
        decode(data)


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF"])
def test_another_format_is_refused_by_name(image_format: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=image_format):
        decode(picture(image_format=image_format))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x20ftypavif\0\0", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0", "HEIC"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
    ],
)
def test_a_format_that_is_not_even_read_is_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedMediaType, match=name):
        decode(data)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_the_first_bytes_of_a_picture_are_called_truncated(image_format: str) -> None:
    with pytest.raises(UndecodableImage, match="truncated"):
        decode(picture(image_format=image_format)[:14])


@pytest.mark.parametrize(
    "data", [b"hello", b"\xff\xd8", b"\xff\xd8\xff\xe0" + b"\0" * 50, b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"\0" * 1000]
)
def test_bytes_that_are_no_picture_are_refused(data: bytes) -> None:
    with pytest.raises(UndecodableImage):
        decode(data)


def test_no_bytes_are_refused() -> None:
    with pytest.raises(UndecodableImage, match="it is empty"):
        decode(b"")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_never_filled_with_grey(image_format: str) -> None:
    data = encoded(photograph(200, 150), image_format)
    for share in (0.1, 0.5, 0.9):
        with pytest.raises(UndecodableImage):
            decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_png_whose_pixels_do_not_fit_their_checksum_is_damaged(place: float) -> None:
    data = bytearray(encoded(photograph(200, 150), "PNG"))
    data[int(len(data) * place)] ^= 0x55
    with pytest.raises(UndecodableImage, match="damaged"):
        decode(bytes(data))


def test_of_a_png_only_the_pixels_have_to_fit() -> None:
    data = encoded(photograph(20, 15), "PNG")
    text = b"\0\0\0\4tEXta\0bc" + b"\0\0\0\0"  # its checksum is another one
    for whole in (data[:-12], data[:-12] + text + data[-12:], data + b"behind the end"):
        assert decode(whole).size == (20, 15)


@pytest.mark.parametrize("seed", range(40))
def test_damaged_bytes_raise_nothing_but_our_own_errors(seed: int) -> None:
    random = np.random.default_rng(seed)
    data = bytearray(encoded(photograph(60, 40), ["JPEG", "PNG", "WEBP"][seed % 3]))
    for position in random.integers(0, len(data), 20):
        data[position] = random.integers(0, 256)
    with contextlib.suppress(UndecodableImage, UnsupportedMediaType, InputTooLarge):
        assert decode(bytes(data)).mode == "RGB"


def test_the_pixel_limit_is_checked_before_decoding() -> None:
    with pytest.raises(InputTooLarge, match="48 x 40 px"):
        decode(picture(), max_pixels=48 * 40 - 1)
    assert decode(picture(), max_pixels=48 * 40).size == (48, 40)


@pytest.mark.parametrize(("size", "orientation"), [((2048, 1536), 6), ((1600, 1200), 1), ((1599, 1203), 1)])
def test_a_large_jpeg_decoded_at_a_reduced_size_gives_nearly_the_same_pixels(size: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photograph(*size), "JPEG", quality=90, exif=exif)
    processor = ImageProcessor(height=144, width=144)
    reduced = processor.preprocess(data).astype(int)
    whole = processor.to_pixels(decode(data)).astype(int)
    assert decode(data, draft_side_px=144).size != decode(data).size  # the shorter way was taken
    assert np.abs(reduced - whole).mean() <= DRAFT_DRIFT
    assert np.abs(reduced - whole).max() <= 16


def test_a_reduced_size_still_covers_the_model_twice() -> None:
    assert min(decode(encoded(photograph(2400, 600), "JPEG"), draft_side_px=150).size) >= 300


@pytest.mark.parametrize("resize", ["squash", "shortest-edge-crop"])
@pytest.mark.parametrize("size", [(64, 32), (32, 64), (17, 300)])
def test_pixels_have_the_models_shape_whatever_the_pictures(resize: str, size: tuple[int, int]) -> None:
    processor = ImageProcessor(height=24, width=40, resize=resize)  # type: ignore[arg-type]
    pixels = processor.preprocess(picture(size=size))
    assert (pixels.shape, pixels.dtype) == ((3, 24, 40), np.uint8)
    assert pixels.flags["C_CONTIGUOUS"]
    assert (pixels[0] == 255).all()
    assert (pixels[1:] == 0).all()


def test_squash_keeps_the_whole_picture_and_crop_its_centre() -> None:
    image = Image.new("RGB", (90, 30))
    image.paste((255, 0, 0), (30, 0, 60, 30))  # red in the middle third
    squashed = ImageProcessor(height=30, width=30, resize="squash").to_pixels(image)
    cropped = ImageProcessor(height=30, width=30, resize="shortest-edge-crop").to_pixels(image)
    assert squashed[0].mean() == pytest.approx(85, abs=3)
    assert (cropped[0] == 255).all()


def test_the_smallest_side_is_the_models_to_say() -> None:
    assert ImageProcessor(height=8, width=8, min_side_px=4).preprocess(picture(size=(4, 9))).shape == (3, 8, 8)
    with pytest.raises(UndecodableImage, match="it is 3 x 9 px; each side needs at least 4"):
        ImageProcessor(height=8, width=8, min_side_px=4).preprocess(picture(size=(3, 9)))


def test_the_views_of_a_square_are_eight_and_all_different() -> None:
    pixels = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    views = dihedral_views(pixels)
    assert (views[0] == pixels).all()
    assert len({view.tobytes() for view in views}) == 8
    assert all(sorted(view.ravel()) == sorted(pixels.ravel()) and view.shape == (3, 4, 4) for view in views)
    assert any((view == np.rot90(pixels, axes=(1, 2))).all() for view in views)


def test_the_views_of_an_oblong_are_the_four_of_its_shape() -> None:
    views = dihedral_views(np.arange(3 * 2 * 4, dtype=np.uint8).reshape(3, 2, 4))
    assert len({view.tobytes() for view in views}) == 4
    assert {view.shape for view in views} == {(3, 2, 4)}
