"""JSON that is large, or wrong a million times: refused soon, for while it is taken apart nothing else is answered."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.api.error_shape import assert_refused
from tests.character_models import write_summing_model
from tests.conftest import serve
from tests.model_repository import write_colour_model, write_word_model

TEXTS, COMPLETIONS, INFER = "/v1/text-classification/words", "/v1/completions", "/v2/models/words/infer"
IMAGES = "/v1/image-classification/colours"
JSON = {"content-type": "application/json"}
LIMIT = 4 * 1024 * 1024
SOON_S = 4.0  # a quarter of a second on a quiet machine; before lists ended at their first mistake it was 10 s and more


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("models")
    write_word_model(root)
    write_summing_model(root)
    write_colour_model(root)
    with serve(root) as client:
        yield client


def full(begin: bytes, element: bytes, end: bytes) -> bytes:
    """JSON of just the size that is allowed, with as many elements as fit."""
    count = (LIMIT - len(begin) - len(end)) // (len(element) + 1)
    return begin + b",".join([element] * count) + end


def keys(begin: bytes, value: bytes, end: bytes) -> bytes:
    count = (LIMIT - len(begin) - len(end)) // (len(value) + 11)
    return begin + b",".join(b'"%07d":%b' % (number, value) for number in range(count)) + end


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        (TEXTS, full(b'{"text":[', b"1", b"]}"), "text.0 must be a string"),
        (TEXTS, full(b'{"text":[', b'""', b"]}"), "1,398,097 texts in one request"),
        (TEXTS, keys(b'{"text":"good",', b"1", b"}"), "mistakes"),
        (COMPLETIONS, full(b'{"model":"sums","prompt":[', b"[1]", b"]}"), "lists and objects"),
        (COMPLETIONS, full(b'{"model":"sums","prompt":[', b"1", b"]}"), "characters"),
        (COMPLETIONS, keys(b'{"model":"sums","prompt":"a","logit_bias":{', b"[]", b"}}"), "lists and objects"),
        (INFER, full(b'{"inputs":[', b"{}", b"]}"), "lists and objects"),
        (INFER, full(b'{"inputs":[{"name":"input_ids","datatype":"INT64","shape":[', b"-1", b"]}]}"), "must be at least 0"),
        (INFER, full(b'{"inputs":[{"name":"input_ids","datatype":"INT64","shape":[1,2],"data":[', b"[1]", b"]}]}"), "lists and objects"),
        (INFER, full(b'{"inputs":[{"name":"input_ids","datatype":"INT64","shape":[1,2],"data":[', b"1", b"]}]}"), "is not of the shape"),
        (
            INFER,
            full(b'{"inputs":[{"name":"input_ids","datatype":"INT64","shape":[1],"data":[', b"[[[[[1]]]]]", b"]}]}"),
            "lists and objects",
        ),
        ("/v2/repository/index", full(b'{"a":[', b"[]", b"]}"), "lists and objects"),
        ("/v2/models/sums/generate", full(b'{"text_input":"a","parameters":{"stop":[', b'"a"', b"]}}"), "stop"),
    ],
)
def test_the_worst_that_fits_is_refused_soon(client: TestClient, path: str, body: bytes, says: str) -> None:
    assert LIMIT - 40 < len(body) <= LIMIT
    started = time.process_time()
    response = client.post(path, content=body, headers=JSON)
    assert time.process_time() - started < SOON_S
    assert response.status_code in (400, 413, 422)
    assert says in response.text
    assert len(response.content) < 500


@pytest.mark.parametrize("path", [TEXTS, COMPLETIONS, "/v1/text-generation/sums", "/v2/models/sums/generate", "/v2/repository/index"])
def test_json_has_a_limit_of_its_own(client: TestClient, path: str) -> None:
    response = client.post(path, content=b" " * (LIMIT + 1), headers=JSON)
    assert (response.status_code, "4,194,304 bytes" in response.text) == ((400 if path == COMPLETIONS else 413), True)


def test_tensors_beyond_it_are_sent_as_bytes(client: TestClient) -> None:
    response = client.post(INFER, content=b'{"inputs":' + b" " * LIMIT, headers=JSON)
    assert response.status_code == 413
    assert response.json() == {"error": "the JSON is larger than 4,194,304 bytes; send large tensors as binary data"}
    rows = 1500
    head = b'{"inputs":[{"name":"pixel_values","datatype":"UINT8","shape":[1500,3,32,32],"parameters":{"binary_data_size":4608000}}]}'
    headers = {"inference-header-content-length": str(len(head))}
    refused = client.post("/v2/models/colours/infer", content=head + bytes(rows * 3 * 32 * 32), headers=headers)
    assert "has 1,500 rows" in refused.json()["error"]  # its bytes were taken, its rows are too many for the queue


def test_a_picture_in_json_may_be_as_large_as_any_body_but_brings_few_values(client: TestClient) -> None:
    large = b'{"image":"' + b"A" * (2 * LIMIT) + b'"}'
    assert_refused(client.post(IMAGES, content=large, headers=JSON), 400, "undecodable_image", param="image")
    many = b'{"image":"AAAA","zz":[' + b"1," * 200 + b"1]}"
    assert_refused(client.post(IMAGES, content=many, headers=JSON), 400, "bad_request", says="more than 100 values")


def test_lists_and_objects_are_counted(client: TestClient) -> None:
    def send(count: int) -> int:
        body = b'{"inputs":[{"name":"input_ids","datatype":"INT64","shape":[1],"data":[' + b",".join([b"[]"] * (count - 5)) + b"]}]}"
        response = client.post(INFER, content=body, headers=JSON)
        assert ("100,000 lists and objects" in response.text) == (response.status_code == 413)
        return response.status_code

    assert (send(100_000), send(100_001)) == (400, 413)


def test_the_limit_is_a_setting(toy_models: Path) -> None:
    with serve(toy_models, max_json_bytes=50) as client:
        assert client.post(TEXTS, json={"text": "good"}).status_code == 200
        assert_refused(client.post(TEXTS, json={"text": "good " * 10}), 413, "input_too_large", says="50 bytes")
