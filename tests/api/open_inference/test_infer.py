"""/v2/models/{model}/infer byte by byte: what Triton's client hides, and what other clients send."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.api.metrics_page import metric
from tests.api.open_inference.requests import (
    COLOURS_URL,
    JSON_BYTES,
    SUMS_URL,
    WORDS_URL,
    assert_refused,
    character_tensors,
    pixels,
    send_binary,
    tensor,
    text_input,
    word_ids,
    words_request,
)
from tests.conftest import serve
from tests.model_repository import GAIN, picture, word_logits


def test_a_request_needs_no_content_type(v2: TestClient) -> None:
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "application/json"}):
        response = v2.post(WORDS_URL, content=json.dumps({"inputs": [text_input("good")]}), headers=headers)
        assert response.status_code == 200, headers


def test_an_answer_in_json_says_all_and_is_flat(v2: TestClient) -> None:
    response = v2.post(WORDS_URL, json={"id": "a", "inputs": [text_input("bad", "not")]})
    assert response.json() == {
        "model_name": "words",
        "model_version": "1",
        "id": "a",
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [2, 2], "data": [2.0, 0.0, 0.5, 0.0]}],
    }
    assert response.headers["content-type"] == "application/json"
    assert JSON_BYTES not in response.headers
    assert "id" not in v2.post(WORDS_URL, json={"inputs": [text_input("bad")]}).json()


def test_the_version_may_stand_in_the_path(v2: TestClient) -> None:
    assert v2.post("/v2/models/words/versions/1/infer", json={"inputs": [text_input("bad")]}).status_code == 200
    assert_refused(v2.post("/v2/models/words/versions/2/infer", json={"inputs": [text_input("bad")]}), 404, "available: words@1")


def test_the_blobs_follow_the_json_in_the_order_of_the_tensors(v2: TestClient) -> None:
    input_ids, lengths = word_ids("bad bad", "good")
    described = [("lengths", lengths), ("input_ids", input_ids)]
    head = {
        "inputs": [
            {"name": name, "datatype": "INT64", "shape": array.shape, "parameters": {"binary_data_size": array.nbytes}}
            for name, array in described
        ],
        "parameters": {"binary_data_output": True},
    }
    response = send_binary(v2, WORDS_URL, head, *(array.tobytes() for _, array in described))
    assert response.headers["content-type"] == "application/octet-stream"
    split = int(response.headers[JSON_BYTES])
    (output,) = json.loads(response.content[:split])["outputs"]
    assert output == {"name": "logits", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}
    assert np.frombuffer(response.content[split:], "<f4").tolist() == [4.0, 0.0, 0.0, 2.0]


def test_json_and_binary_tensors_may_stand_beside_each_other(v2: TestClient) -> None:
    tensors = character_tensors("ab")
    head = {
        "inputs": [
            tensor("lengths", "INT64", tensors["lengths"]),
            {"name": "input_ids", "datatype": "INT64", "shape": [1, 2], "parameters": {"binary_data_size": 16}},
            tensor("state", "FP32", tensors["state"]),
        ],
        "outputs": [{"name": "next_state", "parameters": {"binary_data": True}}, {"name": "logits"}],
    }
    response = send_binary(v2, SUMS_URL, head, tensors["input_ids"].tobytes())
    split = int(response.headers[JSON_BYTES])
    next_state, logits = json.loads(response.content[:split])["outputs"]
    assert (next_state["name"], logits["name"]) == ("next_state", "logits")
    assert len(logits["data"]) == 2 * 67
    assert np.frombuffer(response.content[split:], "<f4") == int(tensors["input_ids"].sum()) % 67


def test_the_flag_of_an_output_goes_before_that_of_the_request(v2: TestClient) -> None:
    asked = {
        "inputs": [text_input("good")],
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "logits", "parameters": {"binary_data": False}}],
    }
    assert v2.post(WORDS_URL, json=asked).json()["outputs"][0]["data"] == [0.0, 2.0]


def test_a_tensor_of_no_bytes_is_binary_too(v2: TestClient) -> None:
    empty = {"name": "text", "datatype": "BYTES", "shape": [0], "parameters": {"binary_data_size": 0}}
    for response in (send_binary(v2, WORDS_URL, {"inputs": [empty]}), v2.post(WORDS_URL, json={"inputs": [empty]})):
        assert response.json()["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [0, 2], "data": []}]
    response = send_binary(v2, WORDS_URL, {"inputs": [empty], "parameters": {"binary_data_output": True}})
    assert int(response.headers[JSON_BYTES]) == len(response.content)  # all JSON, and still binary


def test_a_body_without_json_is_the_only_tensor(v2: TestClient) -> None:
    response = send_binary(v2, COLOURS_URL, b"", pixels("red", "blue").tobytes())
    split = int(response.headers[JSON_BYTES])
    assert json.loads(response.content[:split])["outputs"][0]["shape"] == [2, 3]
    assert np.frombuffer(response.content[split:], "<f4") == pytest.approx([255 * GAIN, 0, 0, 0, 0, 255 * GAIN], abs=1e-4)
    assert_refused(send_binary(v2, COLOURS_URL, b"", b"abc"), 400, "no multiple of a row's 3,072")
    assert_refused(send_binary(v2, WORDS_URL, b"", b"good"), 400, "one input")
    assert_refused(send_binary(v2, SUMS_URL, b"", b"good"), 400, "one input")


def test_data_may_be_nested(v2: TestClient) -> None:
    nested = {"inputs": [{"name": "pixel_values", "datatype": "UINT8", "shape": [1, 3, 32, 32], "data": pixels("green").tolist()}]}
    assert v2.post(COLOURS_URL, json=nested).json()["outputs"][0]["data"] == pytest.approx([0, 255 * GAIN, 0], abs=1e-4)


def test_not_a_number_is_a_state_like_any_other(v2: TestClient) -> None:
    tensors = character_tensors("a")
    body = json.dumps({"inputs": [tensor(name, "FP32" if name == "state" else "INT64", array) for name, array in tensors.items()]})
    response = v2.post(SUMS_URL, content=body.replace('"data": [0.0]', '"data": [NaN]'))
    assert response.status_code == 200
    assert "NaN" in response.text


def test_what_stands_behind_a_texts_length_does_not_count(v2: TestClient) -> None:
    input_ids, lengths = word_ids("bad good good", "good")
    input_ids[1, 1:] = 3
    request = {"inputs": [tensor("input_ids", "INT64", input_ids), tensor("lengths", "INT64", lengths)]}
    assert v2.post(WORDS_URL, json=request).json()["outputs"][0]["data"] == [2.0, 4.0, 0.0, 2.0]


def test_many_clients_of_both_faces_each_get_their_own_answer(v2: TestClient) -> None:
    def bare(word: str) -> Any:
        return v2.post(WORDS_URL, json=words_request(word)).json()["outputs"][0]["data"]

    def face(word: str) -> Any:
        return v2.post("/v1/text-classification/words", json={"text": word}).json()["results"][0]["label"]

    words = ["good", "bad", "not"] * 6
    with ThreadPoolExecutor(8) as clients:
        labels, logits = clients.map(face, words), clients.map(bare, words)
        assert list(logits) == [word_logits(word).tolist() for word in words]
        assert list(labels) == ["positive", "negative", "negative"] * 6


def test_tensors_wait_in_the_models_queue_and_are_counted(all_tasks: Path) -> None:
    with serve(all_tasks, cores=1, max_queue_size=8) as client:
        assert_refused(client.post(WORDS_URL, json=words_request(*["good"] * 9)), 413, "the queue of 'words' holds 8")
        assert client.post(WORDS_URL, json=words_request(*["good"] * 8)).status_code == 200
        assert metric(client, 'axon_inference_count_total{model="words"') == 8
        assert metric(client, 'axon_inference_request_failure_total{model="words",reason="invalid"') == 1
        body = {"inputs": [text_input(*["the " * 70] * 8)]}
        with ThreadPoolExecutor(8) as clients:
            responses = list(clients.map(lambda _: client.post(WORDS_URL, json=body), range(30)))
        assert {response.status_code for response in responses} == {200, 429}
        for response in responses:
            if response.status_code == 429:
                assert_refused(response, 429, "try again in")
                assert 1 <= int(response.headers["retry-after"]) <= 120


def test_a_deadline_that_passes_is_a_504(v2: TestClient) -> None:
    body = {"inputs": [text_input("the " * 10_000)], "parameters": {"timeout": 1}}
    assert_refused(v2.post(WORDS_URL, json=body), 504, "the deadline passed")
    for asked in ("0", "soon"):
        response = v2.post(WORDS_URL, json={"inputs": [text_input("good")]}, headers={"x-request-timeout-ms": asked})
        assert_refused(response, 400, "x-request-timeout-ms must be")


def test_pictures_of_every_kind_are_preprocessed_as_v1_does(v2: TestClient) -> None:
    def encoded(data: bytes) -> Any:
        blob = len(data).to_bytes(4, "little") + data
        entry = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(blob)}}
        return send_binary(v2, COLOURS_URL, {"inputs": [entry]}, blob)

    for image_format in ("PNG", "JPEG", "WEBP"):
        assert np.argmax(encoded(picture("green", image_format=image_format)).json()["outputs"][0]["data"]) == 1
    assert_refused(encoded(b"rubbish"), 400, "the image cannot be decoded")
    assert_refused(encoded(picture(image_format="GIF")), 415)
    assert_refused(encoded(picture(size=(4, 4))), 400, "each side needs at least 16")
