"""/v2/models/{model}/generate and /generate_stream."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.api.events import events_of
from tests.api.metrics_page import metric
from tests.api.open_inference.requests import assert_refused
from tests.character_models import most_likely_text

SUMS = "/v2/models/sums"
REQUEST: dict[str, Any] = {"text_input": "Happy", "parameters": {"max_tokens": 30, "temperature": 0}}


@pytest.mark.parametrize("path", [SUMS, f"{SUMS}/versions/1"])
def test_a_text_goes_on_from_its_input(v2: TestClient, path: str) -> None:
    response = v2.post(f"{path}/generate", content=json.dumps(REQUEST | {"id": "a"}))
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"model_name": "sums", "model_version": "1", "id": "a", "text_output": most_likely_text("Happy", 30)}


def test_parameters_may_stand_beside_the_text(v2: TestClient) -> None:
    beside = {"text_input": "Happy", "max_tokens": 30, "temperature": 0}
    assert v2.post(f"{SUMS}/generate", json=beside).json()["text_output"] == most_likely_text("Happy", 30)
    assert_refused(v2.post(f"{SUMS}/generate", json=REQUEST | {"max_tokens": 3}), 400, "max_tokens is given twice")
    assert_refused(v2.post(f"{SUMS}/generate", json=REQUEST | {"max_tokenz": 3}), 400, "max_tokenz is not an option here")


def test_a_null_is_a_parameter_that_was_left_out(v2: TestClient) -> None:
    nulls = {"stream": None, "prompt": None, "seed": None, "max_tokens": 30}
    for path in ("generate", "generate_stream"):
        response = v2.post(f"{SUMS}/{path}", json={"text_input": "Happy", "parameters": nulls, "max_tokens": None})
        assert response.status_code == 200, response.text


def test_a_compressed_body_is_refused(v2: TestClient) -> None:
    response = v2.post(f"{SUMS}/generate", content=gzip.compress(json.dumps(REQUEST).encode()), headers={"content-encoding": "gzip"})
    assert_refused(response, 415, "send the body as it is")


def test_the_pieces_of_a_stream_make_the_text(v2: TestClient) -> None:
    response = v2.post(f"{SUMS}/generate_stream", json=REQUEST)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(event) for event in events_of(response.text)]
    assert "".join(event["text_output"] for event in events) == most_likely_text("Happy", 30)
    assert {tuple(event) for event in events} == {("model_name", "model_version", "text_output")}


def test_both_ways_and_v1_write_the_same(v2: TestClient) -> None:
    options = {"max_tokens": 80, "temperature": 0.8, "top_k": 20, "seed": 5}
    texts = {
        v2.post(f"{SUMS}/generate", json={"text_input": "Anna", "parameters": options}).json()["text_output"],
        "".join(
            json.loads(event)["text_output"]
            for event in events_of(v2.post(f"{SUMS}/generate_stream", json={"text_input": "Anna", "parameters": options}).text)
        ),
        v2.post("/v1/text-generation/sums", json={"prompt": "Anna"} | options).json()["text"],
    }
    assert len(texts) == 1


def test_the_stream_flag_may_say_what_the_path_says(v2: TestClient) -> None:
    for path, stream in (("generate", False), ("generate_stream", True)):
        assert v2.post(f"{SUMS}/{path}", json={"text_input": "a", "parameters": {"stream": stream}}).status_code == 200
        response = v2.post(f"{SUMS}/{path}", json={"text_input": "a", "parameters": {"stream": not stream}})
        assert_refused(response, 400, "a stream is asked for at /generate_stream")


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"text_input": None}, 400, "text_input must be a string"),
        ({"text_input": "Happy \N{GRINNING FACE}"}, 400, "characters that this model does not know"),
        ({"parameters": {"max_tokens": 0}}, 400, "max_tokens must be at least 1"),
        ({"parameters": {"max_tokens": 10**6}}, 413, "max_tokens is 1,000,000"),
        ({"parameters": {"temperature": "hot"}}, 400, "temperature must be a number"),
        ({"parameters": {"beam_width": 2}}, 400, "beam_width is not an option here"),
        ({"parameters": {"prompt": "a"}}, 400, "a prompt is text_input"),
        ({"parameters": []}, 400, "parameters must be an object"),
        ({"id": 3}, 400, "id must be a string"),
    ],
)
@pytest.mark.parametrize("path", ["generate", "generate_stream"])
def test_a_request_that_does_not_fit_is_refused(v2: TestClient, path: str, fields: dict[str, Any], status: int, says: str) -> None:
    assert_refused(v2.post(f"{SUMS}/{path}", json=REQUEST | fields), status, says)


@pytest.mark.parametrize("path", ["generate", "generate_stream"])
def test_only_a_model_that_writes_is_asked(v2: TestClient, path: str) -> None:
    assert_refused(v2.post(f"{SUMS}/{path}", content=b""), 400, "text_input is required")
    assert_refused(v2.post(f"/v2/models/words/{path}", json=REQUEST), 400, "the model 'words' writes no text")
    assert_refused(v2.post(f"/v2/models/absent/{path}", json=REQUEST), 404, "available: colours, sums, words")
    assert_refused(v2.get(f"{SUMS}/{path}"), 405, "GET is not allowed")
    assert metric(v2, 'axon_live_sequences{model="sums"') == 0
