"""Every cap of docs/operations.md, met and passed by one. A request within its caps is answered; one beyond is refused in our words.

What a head may have, and how long it may take, is in tests/e2e/test_heads.py; queues are in test_overload.py.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from tests.api.error_shape import assert_refused
from tests.api.open_inference.requests import WORDS_URL
from tests.api.open_inference.requests import assert_refused as assert_v2_refused
from tests.character_models import write_summing_model
from tests.conftest import serve
from tests.model_repository import picture, write_colour_model, write_word_model

WORDS, COLOURS, SUMS, COMPLETIONS = (
    "/v1/text-classification/words",
    "/v1/image-classification/colours",
    "/v1/text-generation/sums",
    "/v1/completions",
)
PNG = {"content-type": "image/png"}
MAX_BODY = 100_000
LIMITS = {
    "max_body_bytes": MAX_BODY,
    "max_image_pixels": 50 * 40,
    "max_text_chars": 300,
    "max_texts": 4,
    "max_generated_tokens": 20,
    "max_request_tokens": 120,
}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("models")
    write_colour_model(root)
    write_word_model(root)
    write_summing_model(root)
    with serve(root, **LIMITS) as client:
        yield client


def padded(size: int) -> bytes:
    """JSON of so many bytes that asks for nothing special."""
    body = json.dumps({"text": "good"}).encode()
    return body + b" " * (size - len(body))


def chunks(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 10_000):
        yield body[start : start + 10_000]


@pytest.mark.parametrize("streamed", [False, True])
def test_the_bytes_of_a_body_are_counted_whether_or_not_their_number_is_announced(limited: TestClient, streamed: bool) -> None:
    def send(size: int) -> Response:
        body = padded(size)
        return limited.post(WORDS, content=chunks(body) if streamed else body, headers={"content-type": "application/json"})

    assert send(MAX_BODY).status_code == 200
    assert_refused(send(MAX_BODY + 1), 413, "input_too_large", says="100,000 bytes")


@pytest.mark.parametrize("url", [WORDS, COLOURS, SUMS, WORDS_URL, "/v2/models/sums/generate", "/v2/repository/index", COMPLETIONS])
def test_the_bytes_of_a_body_are_counted_wherever_one_is_read(limited: TestClient, url: str) -> None:
    response = limited.post(url, content=padded(MAX_BODY + 1), headers={"content-type": "application/json"})
    assert response.status_code == (400 if url == COMPLETIONS else 413), response.text
    assert "100,000 bytes" in response.text


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_body_counts_as_large_as_it_is_decompressed(limited: TestClient, encoding: str, compress: Any) -> None:
    def send(size: int) -> Response:
        request = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}]}).encode()
        return limited.post(WORDS_URL, content=compress(request + b" " * (size - len(request))), headers={"content-encoding": encoding})

    assert send(MAX_BODY).status_code == 200
    assert_v2_refused(send(MAX_BODY + 1), 413, "when it is decompressed")
    assert_v2_refused(send(50_000_000), 413, "when it is decompressed")


def form(fields: int, files: int) -> dict[str, Any]:
    image = ("image", ("x.png", picture(), "image/png"))
    others = [(f"file{number}", (f"{number}.png", picture(), "image/png")) for number in range(1, files)]
    return {"data": {f"field{number}": "1" for number in range(fields)}, "files": [image, *others]}


def test_a_form_has_one_file_and_at_most_sixteen_fields(limited: TestClient) -> None:
    assert_refused(limited.post(COLOURS, **form(16, 1)), 422, "invalid_option", param="field0")  # read, and found to be no option
    assert limited.post(COLOURS, **form(0, 1)).status_code == 200
    for fields, files in ((17, 1), (1000, 1), (0, 2), (0, 50)):
        assert_refused(limited.post(COLOURS, **form(fields, files)), 400, "bad_request", says="one file and 16 other fields at most")


@pytest.mark.parametrize(
    ("url", "body"),
    [
        (WORDS, b'{"text": %s}'),
        (SUMS, b'{"prompt": "a", "stop": %s}'),
        (WORDS_URL, b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": %s}]}'),
        (WORDS_URL, b'{"inputs": [], "parameters": {"x": %s}}'),
        (COLOURS, b'{"image": %s}'),
        (COMPLETIONS, b'{"model": "sums", "prompt": %s}'),
        ("/v2/repository/index", b'{"ready": %s}'),
    ],
)
@pytest.mark.parametrize("depth", [201, 40_000])
@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_json_is_at_most_two_hundred_levels_deep(
    limited: TestClient, url: str, body: bytes, depth: int, brackets: tuple[bytes, bytes]
) -> None:
    opening, closing = brackets
    depth = min(depth, MAX_BODY // len(opening + closing) - 50)
    content = body % (opening * depth + b"1" + closing * depth)
    response = limited.post(url, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 400, response.text
    assert "at most 200 levels deep" in response.text


def test_the_pixels_of_a_picture_are_counted_before_one_is_decoded(limited: TestClient) -> None:
    assert limited.post(COLOURS, content=picture(size=(50, 40)), headers=PNG).status_code == 200
    response = limited.post(COLOURS, content=picture(size=(51, 40)), headers=PNG)
    assert_refused(response, 413, "input_too_large", param="image", says="2,000 pixels")


def test_the_characters_of_a_text_are_counted(limited: TestClient) -> None:
    assert limited.post(WORDS, json={"text": "good " * 60}).status_code == 200
    assert_refused(limited.post(WORDS, json={"text": "good " * 60 + "x"}), 413, "input_too_large", param="text", says="301")
    assert_refused(limited.post(SUMS, json={"prompt": "a" * 301}), 413, "input_too_large", param="prompt", says="301")
    texts = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["x" * 301]}]}
    assert_v2_refused(limited.post(WORDS_URL, json=texts), 413, "301")


def test_the_texts_of_a_request_are_counted(limited: TestClient) -> None:
    assert limited.post(WORDS, json={"text": ["good"] * 4}).status_code == 200
    assert_refused(limited.post(WORDS, json={"text": ["good"] * 5}), 413, "input_too_large", param="text", says="5 texts")
    texts = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [5], "data": ["good"] * 5}]}
    assert_v2_refused(limited.post(WORDS_URL, json=texts), 413, "5 texts")


def test_the_length_of_a_generated_text_is_capped(limited: TestClient) -> None:
    assert limited.post(SUMS, json={"prompt": "a", "max_tokens": 20}).status_code == 200
    assert_refused(limited.post(SUMS, json={"prompt": "a", "max_tokens": 21}), 413, "input_too_large", param="max_tokens", says="21")
    body = {"text_input": "a", "parameters": {"max_tokens": 21}}
    for path in ("generate", "generate_stream"):
        assert_v2_refused(limited.post(f"/v2/models/sums/{path}", json=body), 413, "21")


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"prompt": "aaaa", "n": 8, "max_tokens": 12}, 128),
        ({"prompt": "aaaa", "best_of": 8, "n": 1, "max_tokens": 12}, 128),
        ({"prompt": ["aa", "aa"], "n": 4, "max_tokens": 14}, 128),
        ({"prompt": "a" * 100 + "b", "max_tokens": 20}, 121),
        ({"prompt": [[1] * 61, [1] * 60], "max_tokens": 0, "echo": True}, 121),
    ],
)
def test_prompts_times_texts_times_tokens_are_capped(limited: TestClient, body: dict[str, Any], tokens: int) -> None:
    refused = limited.post(COMPLETIONS, json={"model": "sums"} | body)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "input_too_large"
    assert f"{tokens} tokens; the limit is 120" in refused.json()["error"]["message"]


def test_as_many_tokens_as_are_allowed_are_generated(limited: TestClient) -> None:
    body = {"model": "sums", "prompt": "aaaa", "n": 8, "max_tokens": 11, "temperature": 0}
    assert len(limited.post(COMPLETIONS, json=body).json()["choices"]) == 8


@pytest.mark.parametrize("stop", [["a"] * 5, ["x" * 257], [""]])
def test_stop_strings_are_few_and_short(limited: TestClient, stop: list[str]) -> None:
    assert_refused(limited.post(SUMS, json={"prompt": "a", "max_tokens": 5, "stop": stop}), 422, "invalid_option", param="stop")


def test_few_texts_are_explained_at_once(toy_models: Path) -> None:
    with serve(toy_models) as client:
        assert client.post(WORDS, json={"text": ["good"] * 8, "explain": True}).status_code == 200
        assert_refused(client.post(WORDS, json={"text": ["good"] * 9, "explain": True}), 422, "invalid_option", param="explain", says="8")
