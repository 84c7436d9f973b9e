"""What a file says beside its pixels: odd or broken EXIF spoils no picture, and transparency is obeyed whatever the depth."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from app.contract.images import decode
from tests.contract.test_images import photograph, quadrants
from tests.contract.test_photographs import swapped_profile
from tests.model_repository import encoded

ORIENTATION, X_RESOLUTION, IMAGE_WIDTH, RESOLUTION_UNIT = 0x0112, 0x011A, 0x0100, 0x0128
SHORT, ASCII, SIGNED_LONG, LONG = 3, 2, 9, 4

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # PNG's colour types


def exif(*tags: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block of (tag, type, count, value of 4 bytes), as odd as a test wants it."""
    entries = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in sorted(tags))
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth: int, colour_type: int, row: bytes, width: int, *chunks: bytes) -> bytes:
    """A PNG of one row, with further chunks before its pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour_type, 0, 0, 0))
    return SIGNATURE + header + b"".join(chunks) + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "LA", "RGBA"])
def test_a_turn_is_that_of_pillow_to_the_pixel(orientation: int, mode: str) -> None:
    data = encoded(photograph(40, 30).convert(mode), exif=exif((ORIENTATION, SHORT, 1, struct.pack("<HH", orientation, 0))))
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    expected = decode(encoded(turned))
    assert decode(data).size == ((30, 40) if orientation > 4 else (40, 30))
    assert (np.asarray(decode(data)) == np.asarray(expected)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_keeps_profile_and_transparent_colour(orientation: int) -> None:
    turn = exif((ORIENTATION, SHORT, 1, struct.pack("<HH", orientation, 0)))
    blue = decode(encoded(Image.new("RGB", (20, 30), "red"), exif=turn, icc_profile=swapped_profile())).getpixel((5, 5))
    white = decode(encoded(Image.new("RGB", (20, 30), "red"), exif=turn, transparency=(255, 0, 0))).getpixel((5, 5))
    assert isinstance(blue, tuple)
    assert blue[2] > 200 > blue[0]
    assert white == (255, 255, 255)


@pytest.mark.parametrize(
    "tag",
    [
        (X_RESOLUTION, ASCII, 3, b"72\0\0"),
        (IMAGE_WIDTH, SIGNED_LONG, 1, struct.pack("<i", -5)),
        (IMAGE_WIDTH, ASCII, 4, b"640\0"),
        (RESOLUTION_UNIT, LONG, 1, struct.pack("<I", 70_000)),
    ],
)
def test_a_tag_of_the_wrong_type_spoils_neither_picture_nor_turn(tag: tuple[int, int, int, bytes]) -> None:
    turn = (ORIENTATION, SHORT, 1, struct.pack("<HH", 6, 0))
    assert decode(encoded(quadrants(), "JPEG", exif=exif(turn, tag))).size == (32, 64)


@pytest.mark.parametrize(
    "broken",
    [
        chunk(b"eXIf", b"garbage garbage"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n      8\nnot hexadecimal\n"),
        chunk(b"tEXt", b"Raw profile type exif\0\nexif\n      3\n457\n"),
    ],
)
def test_a_png_with_broken_exif_is_read(broken: bytes) -> None:
    assert (np.asarray(decode(png(8, GREY, b"\x07\x08", 2, broken)))[0, :, 0] == [7, 8]).all()


@pytest.mark.parametrize(
    ("depth", "row", "width", "shades"),
    [
        (1, b"\x40", 2, [0, 255]),
        (2, b"\x1b", 4, [0, 85, 170, 255]),
        (4, bytes(range(0x01, 0x100, 0x22)), 16, [17 * shade for shade in range(16)]),
        (8, bytes([0, 85, 86, 254]), 4, [0, 85, 86, 254]),
        (16, struct.pack(">4H", 0, 0x5555, 0xAAAA, 0xFEFE), 4, [0, 85, 170, 254]),
    ],
)
def test_each_shade_of_grey_may_be_the_transparent_one(depth: int, row: bytes, width: int, shades: list[int]) -> None:
    for at, shade in enumerate(shades):
        transparent = shade * (2**depth - 1) // 255
        pixels = np.asarray(decode(png(depth, GREY, row, width, chunk(b"tRNS", struct.pack(">H", transparent)))))
        assert pixels[0, :, 0].tolist() == [*shades[:at], 255, *shades[at + 1 :]], (depth, shade)


@pytest.mark.parametrize("depth", [8, 16])
def test_each_colour_may_be_the_transparent_one(depth: int) -> None:
    colours = [(0, 0, 0), (255, 0, 0), (1, 2, 3)]
    samples = [[value if depth == 8 else value * 256 + 77 for value in colour] for colour in colours]
    row = np.array(samples, dtype=">u1" if depth == 8 else ">u2").tobytes()
    for at, sample in enumerate(samples):
        pixels = np.asarray(decode(png(depth, RGB, row, 3, chunk(b"tRNS", struct.pack(">3H", *sample)))))
        expected = [*colours[:at], (255, 255, 255), *colours[at + 1 :]]
        assert [tuple(pixel) for pixel in pixels[0].tolist()] == expected


def test_a_palette_with_shares_of_transparency_warns_of_nothing() -> None:
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([10, 20, 30, 0, 0, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = np.asarray(decode(encoded(palette, transparency=bytes([255, 128]))))
    assert (pixels == 127).all()
