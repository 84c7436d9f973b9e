"""A photograph to pixels in its own shape, and what a graph drew to a file again."""

from __future__ import annotations

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms
from pydantic import ValidationError

from app.contract.images import MEDIA_TYPES, PhotographProcessor, decode, encode, to_image
from app.errors import UndecodableImage
from tests.contract.test_images import photograph
from tests.model_repository import encoded

NEAR = 6  # of 255, mean over a picture: what JPEG and WebP may change of one that is smooth


def noise(width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


def profile(name: str = "sRGB") -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


def swapped_profile() -> bytes:
    """sRGB with the primaries of red and blue exchanged: whoever obeys it sees a blue picture where the numbers say red."""
    data = bytearray(profile())
    tags = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    red, blue = tags[b"rXYZ"] + 4, tags[b"bXYZ"] + 4
    data[red : red + 8], data[blue : blue + 8] = data[blue : blue + 8], data[red : red + 8]
    return bytes(data)


@pytest.mark.parametrize("size", [(321, 257), (16, 16), (1024, 17), (37, 1024)])
def test_a_picture_that_fits_keeps_every_pixel(size: tuple[int, int]) -> None:
    pixels = PhotographProcessor().preprocess(encoded(Image.fromarray(noise(*size))))
    assert (pixels.shape, pixels.dtype) == ((3, size[1], size[0]), np.uint8)
    assert pixels.flags["C_CONTIGUOUS"]
    assert (pixels.transpose(1, 2, 0) == noise(*size)).all()


@pytest.mark.parametrize(
    ("size", "shape"),
    [((1025, 769), (3, 768, 1024)), ((2048, 1024), (3, 512, 1024)), ((500, 2000), (3, 1024, 256)), ((4096, 3072), (3, 768, 1024))],
)
@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_a_larger_picture_is_shrunk_until_its_longer_side_fits(size: tuple[int, int], shape: tuple[int, ...], image_format: str) -> None:
    assert PhotographProcessor().preprocess(encoded(Image.new("RGB", size), image_format)).shape == shape


@pytest.mark.parametrize(("asked", "longer"), [(None, 200), (64, 64), (200, 200), (4096, 200)])
def test_a_client_may_ask_for_less_and_not_for_more(asked: int | None, longer: int) -> None:
    pixels = PhotographProcessor(max_side_px=200).preprocess(encoded(photograph(400, 300)), max_side_px=asked)
    assert pixels.shape == (3, longer * 3 // 4, longer)


def test_a_picture_that_would_be_too_narrow_is_refused() -> None:
    with pytest.raises(UndecodableImage, match="it is 15 x 40 px; each side needs at least 16"):
        PhotographProcessor().preprocess(encoded(Image.new("RGB", (15, 40))))
    with pytest.raises(UndecodableImage, match="it is 4096 x 40 px, 1024 x 10 once its longer side is 1024; each side needs"):
        PhotographProcessor().preprocess(encoded(Image.new("RGB", (4096, 40))))


def test_the_largest_side_is_not_below_the_smallest() -> None:
    with pytest.raises(ValidationError, match="min_side_px must not be more than max_side_px"):
        PhotographProcessor(max_side_px=15, min_side_px=16)


def test_what_was_read_is_written_again_to_the_bit() -> None:
    pixels = PhotographProcessor().preprocess(encoded(Image.fromarray(noise(321, 257))))
    data = encode(to_image(pixels.astype(np.float32) / 255), "image/png")
    assert (PhotographProcessor().preprocess(data) == pixels).all()


def test_values_are_rounded_and_not_cut() -> None:
    values = np.array([-0.1, 0.0, 0.4999 / 255, 0.5001 / 255, 254.6 / 255, 1.0, 1.5], dtype=np.float32)
    image = to_image(np.broadcast_to(values, (3, 1, 7)))
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 0, 1, 255, 255, 255]


@pytest.mark.parametrize("media_type", MEDIA_TYPES)
def test_an_answer_is_written_in_each_form(media_type: str) -> None:
    image = photograph(321, 257)
    data = encode(image, media_type)
    again = Image.open(io.BytesIO(data))
    assert again.get_format_mimetype() == media_type
    assert again.size == (321, 257)
    assert np.abs(np.asarray(again.convert("RGB")).astype(int) - np.asarray(image)).mean() <= (0 if media_type == "image/png" else NEAR)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_colours_go_by_the_profile(image_format: str) -> None:
    options = {"quality": 95} if image_format == "JPEG" else {"lossless": True} if image_format == "WEBP" else {}
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    plain = np.asarray(decode(encoded(red, image_format, **options))).mean(axis=(0, 1))
    named = np.asarray(decode(encoded(red, image_format, icc_profile=profile(), **options))).mean(axis=(0, 1))
    obeyed = np.asarray(decode(encoded(red, image_format, icc_profile=swapped_profile(), **options))).mean(axis=(0, 1))
    assert plain == pytest.approx([255, 0, 0], abs=4)
    assert named == pytest.approx(plain, abs=4)
    assert obeyed[2] > 200 > 100 > obeyed[0]


def test_transparency_survives_the_profile() -> None:
    half = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    half.paste((255, 0, 0, 255), (0, 0, 16, 32))
    pixels = np.asarray(decode(encoded(half, icc_profile=swapped_profile())))
    assert pixels[0, 0, 2] > 200 > pixels[0, 0, 0]
    assert pixels[0, 31].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
@pytest.mark.parametrize("icc_profile", [b"rubbish", profile()[:200], b"\0" * 600, profile()[:128] + b"\xff" * 460, profile("LAB")])
def test_a_profile_that_is_broken_or_of_another_kind_is_ignored(mode: str, icc_profile: bytes) -> None:
    image = photograph(40, 30).convert(mode)
    assert (np.asarray(decode(encoded(image, icc_profile=icc_profile))) == np.asarray(decode(encoded(image)))).all()


def test_grey_is_not_read_by_a_profile_for_colours() -> None:
    grey = photograph(40, 30).convert("L")
    assert (np.asarray(decode(encoded(grey, icc_profile=swapped_profile()))) == np.asarray(decode(encoded(grey)))).all()
