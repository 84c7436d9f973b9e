"""`POST /v1/text-generation/{model}`: one text, whole or in events, in Axon's own shapes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.contract.sampling import SamplingOptions
from tests.api.error_shape import assert_refused
from tests.api.events import events_of
from tests.character_models import drawn_text, most_likely_text, write_summing_model
from tests.conftest import serve

URL = "/v1/text-generation/sums"


@pytest.fixture(scope="module")
def client(character_models: Path) -> Iterator[TestClient]:
    with serve(character_models, max_text_chars=3000) as client:
        yield client


def test_a_text_goes_on_from_the_prompt(client: TestClient) -> None:
    response = client.post(URL, json={"prompt": "Happy", "max_tokens": 30, "temperature": 0})
    assert response.status_code == 200
    answer = response.json()
    assert answer.pop("timing_ms")["total"] > 0
    assert answer == {
        "model": {"name": "sums", "version": "1"},
        "text": most_likely_text("Happy", 30),
        "finish_reason": "length",
        "usage": {"prompt_tokens": 5, "completion_tokens": 30},
        "notice": "A toy, not an author.",
    }


def test_a_bare_request_starts_a_new_line(client: TestClient) -> None:
    assert len(client.post(URL, json={}).json()["text"]) == 200
    assert client.post(URL, json={"temperature": 0}).json()["text"] == most_likely_text("", 200)


@pytest.mark.parametrize("fields", [{"temperature": 0.5}, {"top_k": 2}, {"top_k": 10**40}, {"top_p": 0.9}])
def test_the_options_reach_the_sampler(client: TestClient, fields: dict[str, Any]) -> None:
    answer = client.post(URL, json={"prompt": "Happy", "seed": 3, "max_tokens": 80} | fields).json()
    assert answer["text"] == drawn_text("Happy", 80, SamplingOptions(seed=3, **fields))


def test_the_coldest_temperature_is_greedy(client: TestClient) -> None:
    """Its reciprocal is no number."""
    assert client.post(URL, json={"prompt": "Happy", "temperature": 1e-320}).json()["text"] == most_likely_text("Happy", 200)


def test_the_limit_of_a_requests_tokens_counts_here_too(character_models: Path) -> None:
    with serve(character_models, max_request_tokens=100) as client:
        refused = client.post(URL, json={"prompt": "x" * 50, "max_tokens": 60})
    assert_refused(refused, 413, "input_too_large", param="max_tokens", says="are 110 tokens; the limit is 100")


def test_an_option_may_stand_in_the_query(client: TestClient) -> None:
    answer = client.post(URL, json={"prompt": "Happy", "temperature": 0}, params={"max_tokens": 3}).json()
    assert answer["text"] == most_likely_text("Happy", 3)
    twice = client.post(URL, json={"prompt": "Happy", "max_tokens": 5}, params={"max_tokens": 3})
    assert_refused(twice, 422, "invalid_option", param="max_tokens", says="given twice")
    underscored = client.post(URL, json={"prompt": "Happy"}, params={"max_tokens": "1_0"})
    assert_refused(underscored, 422, "invalid_option", param="max_tokens", says="must be a whole number")


def test_a_whole_number_may_be_written_with_a_point(client: TestClient) -> None:
    answer = client.post(URL, json={"prompt": "Happy", "temperature": 0, "max_tokens": 3.0, "seed": 1.0, "top_k": 0.0}).json()
    assert answer["text"] == most_likely_text("Happy", 3)
    assert_refused(client.post(URL, json={"max_tokens": 3.5}), 422, "invalid_option", param="max_tokens", says="must be a whole number")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_a_number_must_be_finite(client: TestClient, number: str) -> None:
    for send in ({"content": f'{{"temperature": {number}}}'}, {"content": "{}", "params": {"temperature": number}}):
        refused = client.post(URL, headers={"content-type": "application/json"}, **send)
        assert_refused(refused, 422, "invalid_option", param="temperature", says="temperature must be a finite number")


def test_the_models_own_temperature_is_the_default(tmp_path: Path) -> None:
    write_summing_model(tmp_path, defaults={"start": "\n", "temperature": 0})
    with serve(tmp_path) as client:
        assert client.post(URL, json={"prompt": "Happy"}).json()["text"] == most_likely_text("Happy", 200)
        assert client.post(URL, json={"prompt": "Happy", "temperature": 2}).json()["text"] != most_likely_text("Happy", 200)


@pytest.mark.parametrize("stop", [None, "length"])
def test_a_streamed_text_is_the_whole_one_in_events(client: TestClient, stop: str | None) -> None:
    written = most_likely_text("Happy", 300)
    fields = {"prompt": "Happy", "max_tokens": 300, "temperature": 0, "stop": stop and written[40:44]}
    whole = client.post(URL, json=fields).json()
    response = client.post(URL, json=fields | {"stream": True})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = [json.loads(event) for event in events_of(response.text)]
    assert all(set(event) == {"text"} for event in events[:-1])
    assert set(events[-1]) == set(whole)
    assert "".join(event["text"] for event in events) == whole["text"] == (written[:40] if stop else written)
    assert events[-1]["finish_reason"] == whole["finish_reason"] == ("stop" if stop else "length")
    assert events[-1]["usage"] == whole["usage"]


def test_an_unknown_character_is_refused_by_name(client: TestClient) -> None:
    assert_refused(client.post(URL, json={"prompt": "caf\u00e9"}), 422, "invalid_option", param="prompt", says="'\u00e9'")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": "5"}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"top_k": -1}, "top_k"),
        ({"top_p": 2}, "top_p"),
        ({"stop": [""]}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"n": 2}, "n"),
        ({"prompt": ["a"]}, "prompt"),
    ],
)
def test_a_wrong_field_is_refused_by_name(client: TestClient, fields: dict[str, Any], param: str) -> None:
    assert_refused(client.post(URL, json=fields), 422, "invalid_option", param=param)


def test_too_much_is_too_large(client: TestClient) -> None:
    for max_tokens, said in ((4097, "is 4,097; the limit is 4,096"), (10**400, f"is {10**400:,}"[:67] + "; the limit is 4,096")):
        assert_refused(client.post(URL, json={"max_tokens": max_tokens}), 413, "input_too_large", param="max_tokens", says=said)
    assert_refused(client.post(URL, json={"prompt": "a" * 3001}), 413, "input_too_large", param="prompt", says="3,001 characters")


def test_an_unknown_model_is_not_found_with_those_that_write(client: TestClient) -> None:
    for name in ("absent", "words"):
        response = client.post(f"/v1/text-generation/{name}", json={"prompt": "a"})
        assert_refused(response, 404, "model_not_found", param="model", says="available: sums")


def test_a_late_stream_ends_with_an_error_event(character_models: Path) -> None:
    with serve(character_models, max_generated_tokens=10**8, max_request_tokens=10**9) as patient:
        headers = {"x-request-timeout-ms": "100"}
        assert_refused(patient.post(URL, json={"max_tokens": 10**8}, headers=headers), 504, "deadline_exceeded")
        *_, last = events_of(patient.post(URL, json={"max_tokens": 10**8, "stream": True}, headers=headers).text)
        assert set(json.loads(last)["error"]) == {"type", "message", "param"}


def test_a_silent_stream_sends_comments(character_models: Path) -> None:
    with serve(character_models, max_text_chars=200_000, prefill_chunk_tokens=1, stream_ping_ms=20) as client:
        body = client.post(URL, json={"prompt": "a" * 2_000, "max_tokens": 1, "stream": True}).text
    assert body.startswith(": ping\n\n")
    assert len(events_of(body)) == 1
