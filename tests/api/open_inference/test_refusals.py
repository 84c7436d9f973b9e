"""Every way in which a request may fail to fit: 400 and a sentence, whatever comes."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.api.open_inference.conftest import MAX_BODY_BYTES
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

IDS, LENGTHS = word_ids("good bad", "bad")
IDS_INPUT, LENGTHS_INPUT = tensor("input_ids", "INT64", IDS), tensor("lengths", "INT64", LENGTHS)
TEXT = text_input("good")


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([], "the input 'input_ids' is missing"),
        ([IDS_INPUT], "the input 'lengths' is missing"),
        ([IDS_INPUT, LENGTHS_INPUT, IDS_INPUT], "the input 'input_ids' comes twice"),
        ([TEXT, TEXT], "the input 'text' comes twice"),
        ([TEXT, LENGTHS_INPUT], "give either text, or input_ids and lengths, not both"),
        (
            [TEXT, tensor("ids", "INT64", IDS)],
            "there is no place for 'ids' here; the model takes input_ids (INT64), lengths (INT64), or text",
        ),
        ([IDS_INPUT, tensor("length", "INT64", LENGTHS)], "the model takes input_ids (INT64), lengths (INT64), or text (BYTES)"),
        ([IDS_INPUT, LENGTHS_INPUT | {"datatype": "INT32"}], "the input 'lengths' is INT64, not INT32"),
        ([IDS_INPUT, LENGTHS_INPUT | {"datatype": "BF16"}], "inputs.1.datatype must be one of"),
        ([IDS_INPUT, LENGTHS_INPUT | {"shape": [2, 1]}], "the input 'lengths' has the shape [-1], which [2, 1] does not fit"),
        ([IDS_INPUT, LENGTHS_INPUT | {"shape": []}], "which [] does not fit"),
        ([IDS_INPUT, LENGTHS_INPUT | {"shape": [-2]}], "inputs.1.shape.0 must be at least 0"),
        ([IDS_INPUT, LENGTHS_INPUT | {"shape": [2.0]}], "inputs.1.shape.0"),
        ([IDS_INPUT, LENGTHS_INPUT | {"shape": [True]}], "inputs.1.shape.0"),
        ([IDS_INPUT, LENGTHS_INPUT | {"shape": 2}], "inputs.1.shape must be a list"),
        ([IDS_INPUT, LENGTHS_INPUT | {"shape": [2**40]}], "inputs.1.shape.0 must be less than"),
        ([IDS_INPUT, LENGTHS_INPUT | {"shape": [3]}], "is not of the shape [3]"),
        ([IDS_INPUT, LENGTHS_INPUT | {"data": [1, "2"]}], "must be whole numbers"),
        ([IDS_INPUT, LENGTHS_INPUT | {"data": None}], "needs data"),
        ([IDS_INPUT, LENGTHS_INPUT | {"data": 2}], "inputs.1.data must be a list"),
        ([IDS_INPUT, LENGTHS_INPUT | {"name": 2}], "inputs.1.name must be a string"),
        ([IDS_INPUT, {"name": "lengths"}], "inputs.1.shape is required"),
        ([IDS_INPUT, LENGTHS_INPUT | {"parameters": {"shared_memory_region": "a"}}], "there is no parameter 'shared_memory_region' here"),
        ([IDS_INPUT, LENGTHS_INPUT | {"parameters": []}], "inputs.1.parameters must be an object"),
        ([IDS_INPUT, LENGTHS_INPUT | {"parameters": {"binary_data_size": 16}}], "one of the two"),
        ([IDS_INPUT, 3], "inputs.1 must be an object"),
        ([IDS_INPUT, tensor("lengths", "INT64", LENGTHS[:1])], "input_ids has 2 rows, lengths has 1"),
        ([IDS_INPUT, tensor("lengths", "INT64", LENGTHS * 0)], "lengths must be between 1 and 2"),
        ([IDS_INPUT, tensor("lengths", "INT64", LENGTHS + 1)], "lengths must be between 1 and 2"),
        ([tensor("input_ids", "INT64", IDS + 7), LENGTHS_INPUT], "input_ids must be between 0 and 6"),
        ([tensor("input_ids", "INT64", IDS - 8), LENGTHS_INPUT], "input_ids must be between 0 and 6"),
        ([tensor("input_ids", "INT64", IDS[:, :0]), LENGTHS_INPUT], "input_ids is empty"),
        ([text_input("")], "text must not be empty"),
        ([text_input("good", " ")], "text must not be empty"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(v2: TestClient, inputs: list[Any], says: str) -> None:
    assert_refused(v2.post(WORDS_URL, json={"inputs": inputs}), 400, says)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"outputs": [{"name": "scores"}]}, "there is no output 'scores'; the model gives logits (FP32)"),
        ({"outputs": [{"name": "logits"}, {"name": "logits"}]}, "the output 'logits' is asked for twice"),
        ({"outputs": [{}]}, "outputs.0.name is required"),
        ({"outputs": {}}, "outputs must be a list"),
        ({"outputs": [{"name": "logits", "parameters": {"classification": 2}}]}, "there is no parameter 'classification' here"),
        ({"outputs": [{"name": "logits", "parameters": {"binary_data": 1}}]}, "'binary_data' must be true or false"),
        ({"parameters": {"binary_data_output": "yes"}}, "'binary_data_output' must be true or false"),
        ({"parameters": {"timeout": -1}}, "'timeout' must be a whole number"),
        ({"parameters": {"timeout": True}}, "'timeout' must be a whole number"),
        ({"parameters": {"timeout": 10**400}}, "'timeout' must be a whole number, at least 0 and below 2**63"),
        ({"parameters": {"sequence_id": 1}}, "there is no parameter 'sequence_id' here; known: binary_data_output, timeout"),
        ({"parameters": []}, "parameters must be an object"),
        ({"id": 7}, "id must be a string"),
        ({"inputs": None}, "inputs must be a list"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(v2: TestClient, fields: dict[str, Any], says: str) -> None:
    assert_refused(v2.post(WORDS_URL, json={"inputs": [TEXT]} | fields), 400, says)


def test_nulls_and_fields_of_other_servers_do_no_harm(v2: TestClient) -> None:
    asked = {"inputs": [TEXT | {"parameters": None}], "outputs": None, "parameters": None, "id": None, "model_name": "words"}
    assert v2.post(WORDS_URL, json=asked).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"inputs": [' + b"[" * 5000,
        b'{"id": "\\ud800", "inputs": []}',
        b'{"id": ' + b"1" * 5000 + b"}",
    ],
)
def test_a_body_that_is_no_request_is_refused(v2: TestClient, body: bytes) -> None:
    assert_refused(v2.post(WORDS_URL, content=body), 400)


@pytest.mark.parametrize(
    ("size", "blob", "says"),
    [
        (16, b"1" * 15, "announces 16 bytes; 15 are left in the body"),
        (16, b"1" * 17, "bytes left behind the last tensor: 1"),
        (8, b"1" * 8, r"has 8 bytes; [2] of INT64 have 16"),
        (-1, b"", "'binary_data_size' must be a whole number"),
        (1.5, b"", "'binary_data_size' must be a whole number"),
        (2**62, b"", "announces"),
        (10**400, b"", "'binary_data_size' must be a whole number, at least 0 and below 2**63"),
    ],
)
def test_blobs_that_do_not_fit_are_refused(v2: TestClient, size: Any, blob: bytes, says: str) -> None:
    lengths = {"name": "lengths", "datatype": "INT64", "shape": [2], "parameters": {"binary_data_size": size}}
    assert_refused(send_binary(v2, WORDS_URL, {"inputs": [IDS_INPUT, lengths]}, blob), 400, says)


@pytest.mark.parametrize("value", ["-1", "1.5", "x", "", "9" * 20, "+1", "\u0661".encode(), "100000"])
def test_a_wrong_length_of_the_json_is_refused(v2: TestClient, value: Any) -> None:
    body = json.dumps({"inputs": [TEXT]})
    assert_refused(v2.post(WORDS_URL, content=body, headers={JSON_BYTES: value}), 400)


def test_json_that_is_cut_short_by_its_header_is_refused(v2: TestClient) -> None:
    body = json.dumps({"inputs": [TEXT]})
    assert_refused(v2.post(WORDS_URL, content=body, headers={JSON_BYTES: str(len(body) - 1)}), 400, "not valid JSON")


@pytest.mark.parametrize("shape", [[1, 3, 32, 31], [1, 4, 32, 32], [3, 32, 32], [1, 1, 3, 32, 32], [1, 3, 0, 32]])
def test_pixels_of_another_size_are_refused(v2: TestClient, shape: list[int]) -> None:
    given = tensor("pixel_values", "UINT8", np.zeros(shape, np.uint8))
    assert_refused(v2.post(COLOURS_URL, json={"inputs": [given]}), 400, "has the shape [-1, 3, 32, 32]")


def test_texts_that_are_no_text_are_refused(v2: TestClient) -> None:
    text = {"name": "text", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}
    assert_refused(send_binary(v2, WORDS_URL, {"inputs": [text]}, b"\1\0\0\0\xff"), 400, "text must be UTF-8")


def test_what_is_too_much_is_a_413(v2: TestClient) -> None:
    assert_refused(v2.post(WORDS_URL, content=b" " * (MAX_BODY_BYTES + 1)), 413, "the body is larger than 200,000 bytes")
    assert_refused(v2.post(WORDS_URL, json={"inputs": [text_input(*["good"] * 49)]}), 413, "holds 48")
    assert_refused(v2.post(WORDS_URL, json={"inputs": [text_input("a" * 50_001)]}), 413, "the limit is 50,000")
    assert_refused(v2.post(WORDS_URL, json=words_request("good " * 81)), 413, "the model reads 80")
    assert_refused(send_binary(v2, COLOURS_URL, b"", pixels(*["red"] * 49).tobytes()), 413, "holds 48")


def test_a_step_that_does_not_fit_the_model_that_writes_is_refused(v2: TestClient) -> None:
    def step(**changes: np.ndarray[Any, Any]) -> Any:
        tensors = character_tensors("abc") | changes
        inputs = [tensor(name, "FP32" if name == "state" else "INT64", array) for name, array in tensors.items()]
        return v2.post(SUMS_URL, json={"inputs": inputs})

    assert step().status_code == 200
    assert_refused(step(state=np.zeros((2, 1), np.float32)), 400, "input_ids has 1 rows, state has 2")
    assert_refused(step(state=np.zeros((1, 2), np.float32)), 400, "has the shape [-1, 1], which [1, 2] does not fit")
    assert_refused(step(input_ids=np.array([[0, 1, 67]])), 400, "between 0 and 66")
    assert_refused(step(lengths=np.array([4])), 400, "lengths must be between 1 and 3")
    assert_refused(step(input_ids=np.zeros((1, 8193), np.int64)), 413, "the limit is 8,192 a run")
    assert_refused(v2.post(SUMS_URL, json={"inputs": [TEXT]}), 400, "takes input_ids (INT64), lengths (INT64), state (FP32)")


@pytest.mark.parametrize(
    "path", ["/v2/", "/v2/absent", "/v2/models/", "/v2/models/words/", "/v2/models/words/infer/", "/v2/%00", "/v2/logging"]
)
def test_an_unknown_path_is_a_sentence_too(v2: TestClient, path: str) -> None:
    assert_refused(v2.get(path, follow_redirects=False), 404, "there is nothing at /v2")


@pytest.mark.parametrize("path", ["", "/stats", "/ready", "/config", "/infer", "/versions/1", "/versions/1/infer"])
def test_an_unknown_model_is_a_sentence_that_names_the_others(v2: TestClient, path: str) -> None:
    response = v2.request("POST" if "infer" in path else "GET", f"/v2/models/absent{path}")
    assert_refused(response, 404, "there is no model 'absent'; available: colours, sums, words")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "ODD"])
def test_a_wrong_method_is_a_sentence_too(v2: TestClient, method: str) -> None:
    for path in (WORDS_URL, "/v2/repository/index", "/v2/repository/models/words/load"):
        response = v2.request(method, path)
        assert_refused(response, 405, f"{method} is not allowed")
        assert response.headers["allow"] == "POST"


def test_random_requests_never_break_the_server(v2: TestClient) -> None:
    dice = random.Random(0)
    values: list[Any] = [
        None,
        True,
        -1,
        0,
        1,
        2,
        1.5,
        2**70,
        "",
        "text",
        "INT64",
        "BYTES",
        "logits",
        [],
        [1],
        [[1]],
        {},
        {"binary_data_size": 4},
    ]
    keys = ["name", "shape", "datatype", "data", "parameters"]
    for _ in range(300):
        given = dict(dice.choice([TEXT, IDS_INPUT, LENGTHS_INPUT]))
        for key in dice.sample(keys, dice.randint(0, 3)):
            given[key] = dice.choice(values)
        body = {
            "inputs": [given, dice.choice([TEXT, LENGTHS_INPUT, 1])][: dice.randint(1, 2)],
            dice.choice(["id", "outputs", "x"]): dice.choice(values),
        }
        content = json.dumps(body).encode()
        header = dice.choice([{}, {JSON_BYTES: str(len(content))}, {JSON_BYTES: str(dice.randint(0, len(content)))}])
        response = v2.post(
            dice.choice([WORDS_URL, COLOURS_URL, SUMS_URL]), content=content + dice.randbytes(dice.choice([0, 0, 4])), headers=header
        )
        assert response.status_code in (200, 400), response.text
        assert response.status_code == 200 or set(response.json()) == {"error"}
