"""Everything that people send as a picture: each has its clear answer, or works."""

from __future__ import annotations

import base64
import gc
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests.api.error_shape import assert_refused
from tests.conftest import serve
from tests.model_repository import encoded, picture

URL = "/v1/image-classification/colours"


def post(client: TestClient, data: bytes, content_type: str = "image/jpeg") -> Any:
    return client.post(URL, content=data, headers={"content-type": content_type})


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def animated(image_format: str) -> bytes:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    return encoded(frames[0], image_format, save_all=True, append_images=frames[1:], duration=100)


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "application/json", "multipart/form-data; boundary=x"])
def test_an_empty_body_is_refused(client: TestClient, content_type: str) -> None:
    assert_refused(post(client, b"", content_type), 400, "bad_request", param="image", says="empty")


def test_no_image_in_the_form_is_refused(client: TestClient) -> None:
    assert_refused(client.post(URL, files={"picture": b"x"}), 400, "bad_request", param="image", says="no file in the field 'image'")
    assert_refused(client.post(URL, files={"image": b""}), 400, "bad_request", param="image", says="empty file")
    text_field = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nhello\r\n--x--\r\n'
    assert_refused(post(client, text_field, "multipart/form-data; boundary=x"), 400, "bad_request", param="image")


def test_a_file_in_the_form_that_has_no_end_is_refused_and_closed(client: TestClient) -> None:
    """The closing boundary stands where the parser takes it for the file's own bytes."""
    unended = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nhello --x--'
    assert_refused(post(client, unended, "multipart/form-data; boundary=x"), 400, "bad_request", param="image")
    gc.collect()  # a file that is not closed warns, and a warning is an error


def test_two_files_in_the_form_are_refused(client: TestClient) -> None:
    files = [("image", ("a.png", picture(), "image/png")), ("image", ("b.png", picture(), "image/png"))]
    assert_refused(client.post(URL, files=files), 400, "bad_request", says="one file")


def test_no_image_in_json_is_refused(client: TestClient) -> None:
    assert_refused(client.post(URL, json={}), 422, "invalid_option", param="image", says="is required")
    assert_refused(client.post(URL, json={"image": None}), 422, "invalid_option", param="image", says="must be a string")
    assert_refused(client.post(URL, json={"image": ""}), 400, "bad_request", param="image", says="empty")


@pytest.mark.parametrize("text", ["not base64!", "a", "====", "\u00e9", "data:image/png;base64", "data:image/png;base64,@@@"])
def test_base64_rubbish_is_refused(client: TestClient, text: str) -> None:
    response = client.post(URL, json={"image": text})
    assert_refused(response, 400, "bad_request", param="image")


def test_base64_in_lines_is_read(client: TestClient) -> None:
    """As `base64 file` writes it."""
    answer = client.post(URL, json={"image": base64.encodebytes(picture("red")).decode()})
    assert answer.status_code == 200, answer.text


def test_jpg_is_jpeg(client: TestClient) -> None:
    answer = client.post(URL, content=picture("red", image_format="JPEG"), headers={"content-type": "image/jpg"})
    assert answer.status_code == 200, answer.text


def test_base64_of_something_else_is_refused(client: TestClient) -> None:
    text = base64.b64encode(b"hello, this is no picture").decode()
    assert_refused(client.post(URL, json={"image": text}), 400, "undecodable_image", param="image")


def test_text_sent_as_an_image_is_refused(client: TestClient) -> None:
    assert_refused(post(client, b"hello, this is no picture"), 400, "undecodable_image", param="image", says="not a JPEG, PNG or WebP")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_refused(client: TestClient, image_format: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), image_format)
    response = post(client, data[: int(len(data) * share)])
    assert_refused(response, 400, "undecodable_image", param="image")


@pytest.mark.parametrize("image_format", ["GIF", "BMP", "TIFF"])
def test_another_format_is_refused_whatever_its_content_type(client: TestClient, image_format: str) -> None:
    data = picture(image_format=image_format)
    assert_refused(post(client, data), 415, "unsupported_media_type", param="image", says=f"{image_format} is not accepted")
    assert_refused(post(client, data, f"image/{image_format.lower()}"), 415, "unsupported_media_type", says="image/jpeg")
    assert_refused(client.post(URL, files={"image": data}), 415, "unsupported_media_type", param="image", says=image_format)


@pytest.mark.parametrize("image_format", ["PNG", "WEBP"])
def test_an_animated_picture_is_refused(client: TestClient, image_format: str) -> None:
    assert_refused(post(client, animated(image_format)), 415, "unsupported_media_type", param="image", says="animated")


@pytest.mark.parametrize("size", [(1, 1), (1, 400), (15, 15)])
def test_a_picture_too_small_to_show_anything_is_refused(client: TestClient, size: tuple[int, int]) -> None:
    assert_refused(post(client, picture(size=size)), 400, "undecodable_image", param="image", says="at least 16")


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (12_000, 12_000), (40_000_001, 1)])
def test_a_header_that_promises_too_many_pixels_is_refused_undecoded(client: TestClient, width: int, height: int) -> None:
    assert_refused(post(client, png_header(width, height)), 413, "input_too_large", param="image", says="40,000,000 pixels")


def test_a_cmyk_jpeg_works(client: TestClient) -> None:
    image = Image.new("RGB", (40, 40), "red").convert("CMYK")
    assert post(client, encoded(image, "JPEG")).json()["predictions"][0]["label"] == "red"


def test_a_16_bit_png_works(client: TestClient) -> None:
    grey = Image.fromarray(np.full((40, 40), 40_000, dtype=np.uint16))
    response = post(client, encoded(grey))
    assert response.status_code == 200, response.text
    assert [entry["probability"] for entry in response.json()["predictions"]] == pytest.approx([1 / 3] * 3)


def test_an_exif_rotated_jpeg_works(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    data = encoded(Image.new("RGB", (60, 40), "blue"), "JPEG", exif=exif)
    assert post(client, data).json()["predictions"][0]["label"] == "blue"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/octet-stream", "image/svg+xml", "application/x-www-form-urlencoded", ""]
)
def test_another_content_type_is_refused(client: TestClient, content_type: str) -> None:
    response = client.post(URL, content=picture(), headers={"content-type": content_type} if content_type else {})
    assert_refused(response, 415, "unsupported_media_type", says="multipart/form-data")


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x\r\n\r\n--x--"),
        ("multipart/form-data; boundary=x", b"hello"),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nhello\r\n--x--\r\n"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nhel'),
        ("multipart/form-data; boundary=x", b"--x\r\n\x00\xff: \r\n\r\n--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 5000, b"--x--\r\n"),
    ],
)
def test_a_malformed_form_is_refused(client: TestClient, content_type: str, body: bytes) -> None:
    assert_refused(post(client, body, content_type), 400, "bad_request", says="malformed")


def test_too_many_form_fields_are_refused(client: TestClient) -> None:
    response = client.post(URL, files={"image": picture()}, data={f"field{index}": "1" for index in range(100)})
    assert_refused(response, 400, "bad_request", says="one file and 16 other fields at most")


@pytest.mark.parametrize("depth", [100, 50_000])
def test_deep_json_is_refused(client: TestClient, depth: int) -> None:
    body = b'{"image": "aGVsbG8=", "threshold": ' + b"[" * depth + b"]" * depth + b"}"
    response = post(client, body, "application/json")
    if depth == 100:
        assert_refused(response, 422, "invalid_option", param="threshold")
    else:
        assert_refused(response, 400, "bad_request", says="not valid JSON")


def chunks(total: int) -> Iterator[bytes]:
    for _ in range(total // 1_000_000):
        yield b"\xff" * 1_000_000


def test_a_50_mb_body_is_refused(client: TestClient) -> None:
    for content_type in ("image/jpeg", "application/json", "multipart/form-data; boundary=x"):
        assert_refused(post(client, b"\xff" * 50_000_000, content_type), 413, "input_too_large", says="2,000,000 bytes")


def test_a_50_mb_body_without_a_length_is_refused(client: TestClient) -> None:
    response = client.post(URL, content=chunks(50_000_000), headers={"content-type": "image/jpeg"})
    assert "content-length" not in response.request.headers
    assert_refused(response, 413, "input_too_large", says="2,000,000 bytes")


def test_a_body_as_large_as_the_limit_is_read(toy_models: Path) -> None:
    data = picture()
    with serve(toy_models, max_body_bytes=len(data)) as client:
        assert post(client, data).status_code == 200
        assert_refused(post(client, data + b"\0"), 413, "input_too_large")


def test_the_bytes_of_a_picture_never_reach_the_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    post(client, b"MARKER-of-a-broken-picture")
    client.post("/v1/text-classification/words", json={"text": "MARKER good"})
    assert "MARKER" not in caplog.text
