"""gzip and deflate: of /infer alone, and never a way around the limit."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from starlette.testclient import TestClient

from app.api.open_inference.compression import accepted_encoding
from tests.api.open_inference.conftest import MAX_BODY_BYTES
from tests.api.open_inference.requests import JSON_BYTES, WORDS_URL, assert_refused, send_binary, text_input

REQUEST = json.dumps({"inputs": [text_input("good")]}).encode()


@pytest.mark.parametrize(
    ("encoding", "content"),
    [("gzip", gzip.compress(REQUEST)), ("deflate", zlib.compress(REQUEST)), ("GZIP", gzip.compress(REQUEST)), ("identity", REQUEST)],
)
def test_a_compressed_request_is_read(v2: TestClient, encoding: str, content: bytes) -> None:
    assert v2.post(WORDS_URL, content=content, headers={"content-encoding": encoding}).status_code == 200


def test_the_header_counts_the_json_as_it_is_without_compression(v2: TestClient) -> None:
    blob = b"\4\0\0\0good"
    head = json.dumps(
        {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(blob)}}]}
    ).encode()
    headers = {"content-encoding": "gzip", JSON_BYTES: str(len(head)), "accept-encoding": "gzip"}
    assert v2.post(WORDS_URL, content=gzip.compress(head + blob), headers=headers).json()["outputs"][0]["data"] == [0.0, 2.0]
    binary = json.loads(head) | {"parameters": {"binary_data_output": True}}
    response = send_binary(v2, WORDS_URL, binary, blob, **{"accept-encoding": "gzip"})
    assert response.headers["content-encoding"] == "gzip"
    split = int(response.headers[JSON_BYTES])
    assert json.loads(response.content[:split])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert len(response.content) == split + 8


def test_a_gzip_file_may_have_several_members(v2: TestClient) -> None:
    members = [REQUEST[start : start + 10] for start in range(0, len(REQUEST), 10)]
    packed = b"".join(map(gzip.compress, members))
    assert v2.post(WORDS_URL, content=packed, headers={"content-encoding": "gzip"}).status_code == 200
    for content in (packed + b"x", packed[:-3], gzip.compress(b" ") * 101 + packed):
        assert_refused(v2.post(WORDS_URL, content=content, headers={"content-encoding": "gzip"}), 400, "gzip")
    assert_refused(v2.post(WORDS_URL, content=zlib.compress(REQUEST) * 2, headers={"content-encoding": "deflate"}), 400, "one whole")
    large = gzip.compress(b" " * MAX_BODY_BYTES) + gzip.compress(b" ")
    assert_refused(v2.post(WORDS_URL, content=large, headers={"content-encoding": "gzip"}), 413, "larger than")


def test_x_gzip_is_gzip(v2: TestClient) -> None:
    headers = {"content-encoding": "x-gzip", "accept-encoding": "x-gzip"}
    response = v2.post(WORDS_URL, content=gzip.compress(REQUEST), headers=headers)
    assert (response.status_code, response.headers["content-encoding"]) == (200, "gzip")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_small_file_of_many_bytes_is_too_large(v2: TestClient, encoding: str) -> None:
    for size in (MAX_BODY_BYTES + 1, 50_000_000):
        content = b" " * size
        packed = gzip.compress(content, mtime=0) if encoding == "gzip" else zlib.compress(content)
        assert len(packed) < MAX_BODY_BYTES
        response = v2.post(WORDS_URL, content=packed, headers={"content-encoding": encoding})
        assert_refused(response, 413, "larger than 200,000 bytes when it is decompressed")
    whole = b" " * (MAX_BODY_BYTES - len(REQUEST)) + REQUEST
    packed = gzip.compress(whole, mtime=0) if encoding == "gzip" else zlib.compress(whole)
    assert v2.post(WORDS_URL, content=packed, headers={"content-encoding": encoding}).status_code == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("damage", ["no file", "cut short", "more behind", "another"])
def test_a_damaged_file_is_refused(v2: TestClient, encoding: str, damage: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    other = zlib.compress if encoding == "gzip" else gzip.compress
    content = {"no file": REQUEST, "cut short": pack(REQUEST)[:-3], "more behind": pack(REQUEST) + b"x", "another": other(REQUEST)}[damage]
    assert_refused(v2.post(WORDS_URL, content=content, headers={"content-encoding": encoding}), 400, encoding)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "x" * 5000])
def test_another_encoding_is_refused(v2: TestClient, encoding: str) -> None:
    assert_refused(v2.post(WORDS_URL, content=REQUEST, headers={"content-encoding": encoding}), 415, "may be gzip or deflate")


def test_only_an_answer_of_infer_is_compressed(v2: TestClient) -> None:
    headers = {"accept-encoding": "gzip"}
    assert v2.post(WORDS_URL, content=REQUEST, headers=headers).headers["content-encoding"] == "gzip"
    assert "content-encoding" not in v2.post(WORDS_URL, content=REQUEST, headers={"accept-encoding": "identity"}).headers
    for path in ("/v2", "/v2/models/words", "/v2/models/stats", "/v2/models/words/config", "/v2/health/ready"):
        assert "content-encoding" not in v2.get(path, headers=headers).headers
    assert_refused(v2.post(WORDS_URL, content=b"{", headers=headers), 400)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", "gzip"),
        ("gzip;q=0.2, deflate;q=0.5", "deflate"),
        ("gzip;q=0", None),
        ("GZIP; q=0.5", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("br", None),
        ("gzip;q=much", None),
    ],
)
def test_the_client_gets_what_it_likes_best(accept: str, expected: str | None) -> None:
    assert accepted_encoding(accept) == expected
