"""`POST /v1/completions`, field by field, on a model whose texts are known by construction."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.contract.sampling import SamplingOptions
from tests.api.error_shape import LIBRARY_TEXT
from tests.api.events import chunks_of
from tests.api.metrics_page import metric
from tests.character_models import ALPHABET, GAIN, drawn_text, ids_of, most_likely_text
from tests.conftest import serve

URL = "/v1/completions"
LIKELY = -math.log(1 + (len(ALPHABET) - 1) * math.exp(-GAIN))  # nats of the character that the model expects
UNLIKELY = LIKELY - GAIN


@pytest.fixture(scope="module")
def client(character_models: Path) -> Iterator[TestClient]:
    with serve(character_models, max_generated_tokens=2000, max_request_tokens=5000, max_text_chars=3000, max_texts=8) as client:
        yield client


def complete(client: TestClient, **fields: Any) -> dict[str, Any]:
    response = client.post(URL, json={"model": "sums", "prompt": "Happy", "temperature": 0} | fields)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def texts(answer: dict[str, Any]) -> list[str]:
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(answer["choices"])))
    return [choice["text"] for choice in answer["choices"]]


def stream(client: TestClient, **fields: Any) -> list[dict[str, Any]]:
    response = client.post(URL, json={"model": "sums", "prompt": "Happy", "temperature": 0, "stream": True} | fields)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    return chunks_of(response.text)


def streamed_texts(chunks: list[dict[str, Any]]) -> dict[int, str]:
    found: dict[int, str] = {}
    ended: set[int] = set()
    for chunk in chunks:
        for choice in chunk["choices"]:
            assert choice["index"] not in ended, "a choice went on after its finish_reason"
            found[choice["index"]] = found.get(choice["index"], "") + choice["text"]
            if choice["finish_reason"] is not None:
                ended.add(choice["index"])
    assert ended == set(found)
    return dict(sorted(found.items()))


def assert_refused(response: Response, status: int, code: str, param: str | None, says: str = "") -> None:
    """OpenAI's shape, our words."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["code"], error["param"]) == (code, param), error
    assert error["type"] == ("invalid_request_error" if status < 429 else "rate_limit_error" if status == 429 else "server_error")
    assert says in error["message"], error
    assert not LIBRARY_TEXT.search(error["message"])


def test_an_answer_has_openais_fields(client: TestClient) -> None:
    answer = complete(client, max_tokens=7)
    assert answer.pop("id").startswith("cmpl-")
    assert abs(answer.pop("created") - 1.8e9) < 1e9
    assert answer == {
        "object": "text_completion",
        "model": "sums",
        "choices": [{"index": 0, "text": most_likely_text("Happy", 7), "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12},
    }


def test_sixteen_tokens_are_the_default_and_a_null_is_a_default(client: TestClient) -> None:
    assert texts(complete(client)) == [most_likely_text("Happy", 16)]
    nulls = dict.fromkeys(["max_tokens", "n", "best_of", "stop", "logprobs", "seed", "logit_bias", "user", "suffix", "stream_options"])
    assert texts(complete(client, **nulls)) == [most_likely_text("Happy", 16)]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("Happy", ["Happy"]),
        (["Happy", "families"], ["Happy", "families"]),
        (ids_of("Happy").tolist(), ["Happy"]),
        ([ids_of("Happy").tolist(), ids_of("all alike").tolist()], ["Happy", "all alike"]),
        ("", [""]),
        (["", "a"], ["", "a"]),
        ([[]], [""]),
    ],
    ids=str,
)
def test_a_prompt_comes_in_four_forms(client: TestClient, prompt: Any, expected: list[str]) -> None:
    answer = complete(client, prompt=prompt, max_tokens=9)
    assert texts(answer) == [most_likely_text(each, 9) for each in expected]
    assert answer["usage"]["prompt_tokens"] == sum(map(len, expected))


@pytest.mark.parametrize("streams", [False, True])
def test_choices_are_numbered_by_prompt_then_text(client: TestClient, streams: bool) -> None:
    fields = {"prompt": ["Happy", "alike"], "n": 3, "seed": 5, "temperature": 1, "max_tokens": 40}
    expected = [drawn_text(prompt, 40, SamplingOptions(seed=5, choice=choice)) for prompt in ("Happy", "alike") for choice in range(3)]
    assert len(set(expected)) == 6
    if streams:
        assert list(streamed_texts(stream(client, **fields)).values()) == expected
    else:
        answer = complete(client, **fields)
        assert texts(answer) == expected
        assert answer["usage"] == {"prompt_tokens": 10, "completion_tokens": 240, "total_tokens": 250}


def test_best_of_returns_the_likeliest_first(client: TestClient) -> None:
    fields = {"seed": 2, "temperature": 1.5, "max_tokens": 12, "logprobs": 0}
    everything = complete(client, n=8, **fields)["choices"]
    by_likelihood = sorted(everything, key=lambda choice: -sum(choice["logprobs"]["token_logprobs"]))
    best = complete(client, n=2, best_of=8, **fields)
    assert texts(best) == [choice["text"] for choice in by_likelihood[:2]]
    assert best["usage"]["completion_tokens"] == 8 * 12
    assert texts(complete(client, n=2, best_of=8, **(fields | {"logprobs": None}))) == texts(best)


def test_echo_puts_the_prompt_before_the_text(client: TestClient) -> None:
    assert texts(complete(client, echo=True, max_tokens=3)) == ["Happy" + most_likely_text("Happy", 3)]
    assert streamed_texts(stream(client, echo=True, max_tokens=3)) == {0: "Happy" + most_likely_text("Happy", 3)}
    assert streamed_texts(stream(client, echo=True, max_tokens=0)) == {0: "Happy"}
    nothing = complete(client, echo=True, max_tokens=0)
    assert texts(nothing) == ["Happy"]
    assert nothing["choices"][0]["finish_reason"] == "length"
    assert texts(complete(client, echo=True, max_tokens=0, prompt="")) == [""]


def test_log_probabilities_are_the_models_own_whatever_the_options(client: TestClient) -> None:
    for options in ({"temperature": 0}, {"temperature": 2, "seed": 4}, {"temperature": 1, "top_p": 0.5, "presence_penalty": 1, "seed": 1}):
        (choice,) = complete(client, max_tokens=30, logprobs=2, **options)["choices"]
        logprobs, so_far = choice["logprobs"], "Happy"
        assert logprobs["tokens"] == list(choice["text"])
        assert logprobs["text_offset"] == list(range(30))
        for character, logprob, top in zip(choice["text"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True):
            expected = most_likely_text(so_far, 1)
            assert logprob == pytest.approx(LIKELY if character == expected else UNLIKELY, abs=1e-5)
            assert top[expected] == pytest.approx(LIKELY, abs=1e-5)
            assert top[character] == logprob
            assert len(top) in (2, 3)
            so_far += character


def test_logprobs_of_zero_are_those_of_the_chosen_tokens(client: TestClient) -> None:
    (choice,) = complete(client, max_tokens=4, logprobs=0)["choices"]
    assert choice["logprobs"]["token_logprobs"] == pytest.approx([LIKELY] * 4, abs=1e-5)
    assert [list(top) for top in choice["logprobs"]["top_logprobs"]] == [[character] for character in choice["text"]]


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 1000])
def test_a_prompt_is_scored_whole_and_nothing_foretells_its_first_character(client: TestClient, length: int) -> None:
    prompt = ("b" + most_likely_text("b", 20) + "zz")[:length].ljust(length, "e")
    (choice,) = complete(client, prompt=prompt, echo=True, max_tokens=0, logprobs=0)["choices"]
    logprobs = choice["logprobs"]
    assert choice["text"] == prompt
    assert logprobs["tokens"] == list(prompt)
    assert logprobs["token_logprobs"][0] is logprobs["top_logprobs"][0] is None
    for place in range(1, length):
        expected = LIKELY if prompt[place] == most_likely_text(prompt[:place], 1) else UNLIKELY
        assert logprobs["token_logprobs"][place] == pytest.approx(expected, abs=1e-5)


def test_a_streamed_score_is_the_whole_one_in_pieces(client: TestClient) -> None:
    fields = {"prompt": "Happy families " * 30, "echo": True, "max_tokens": 20, "logprobs": 1}
    (whole,) = complete(client, **fields)["choices"]
    pieces: dict[str, list[Any]] = {name: [] for name in whole["logprobs"]}
    chunks = stream(client, **fields)
    for chunk in chunks:
        for name, values in chunk["choices"][0]["logprobs"].items():
            pieces[name] += values
    assert streamed_texts(chunks) == {0: whole["text"]}
    assert pieces == whole["logprobs"]


@pytest.mark.parametrize("streams", [False, True])
def test_the_stop_is_not_in_the_text(client: TestClient, streams: bool) -> None:
    written = most_likely_text("Happy", 60)
    for stop, end in ((written[20:25], 20), ([written[50:52], written[30:33], "zzzz"], 30), (written[0], 0)):
        first = min(written.find(each) for each in ([stop] if isinstance(stop, str) else stop) if each in written)
        assert first == end
        if streams:
            chunks = stream(client, max_tokens=60, stop=stop)
            assert streamed_texts(chunks) == {0: written[:end]}
            assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
        else:
            answer = complete(client, max_tokens=60, stop=stop, logprobs=0)
            assert texts(answer) == [written[:end]]
            assert answer["choices"][0]["finish_reason"] == "stop"
            assert answer["choices"][0]["logprobs"]["tokens"] == list(written[:end])
            longest = len(stop) if isinstance(stop, str) else 3
            assert answer["usage"]["completion_tokens"] == end + longest


def test_a_beginning_of_a_stop_at_the_end_of_the_text_is_part_of_it(client: TestClient) -> None:
    written = most_likely_text("Happy", 40)
    never = written[37:40] + "\n\n\n"
    assert texts(complete(client, max_tokens=40, stop=never)) == [written]
    assert streamed_texts(stream(client, max_tokens=40, stop=never)) == {0: written}


def test_the_stop_does_not_look_into_the_prompt(client: TestClient) -> None:
    written = most_likely_text("Happy", 20)
    assert texts(complete(client, max_tokens=20, stop="y" + written[0], echo=True)) == ["Happy" + written]


def test_the_options_reach_the_sampler(client: TestClient) -> None:
    for fields in (
        {"temperature": 0.6},
        {"top_k": 3},
        {"top_k": -1},
        {"top_p": 0.9},
        {"min_p": 0.01},
        {"presence_penalty": 1.5},
        {"frequency_penalty": -1.0},
        {"repetition_penalty": 1.4},
    ):
        options = SamplingOptions(seed=11, **({"temperature": 1.0} | fields | ({"top_k": 0} if fields == {"top_k": -1} else {})))
        assert texts(complete(client, **({"temperature": 1.0} | fields), seed=11, max_tokens=100)) == [drawn_text("Happy", 100, options)]
    banned = complete(client, max_tokens=50, temperature=1, logit_bias={str(index): -100 for index in range(10, len(ALPHABET))})
    assert set(texts(banned)[0]) <= set(ALPHABET[:10])


def test_the_same_seed_gives_the_same_text_and_none_a_new_one(client: TestClient) -> None:
    fields = {"temperature": 1.5, "max_tokens": 50}
    assert texts(complete(client, seed=3, **fields)) == texts(complete(client, seed=3, **fields))
    assert list(streamed_texts(stream(client, seed=3, **fields)).values()) == texts(complete(client, seed=3, **fields))
    assert texts(complete(client, **fields)) != texts(complete(client, **fields))
    assert len(set(texts(complete(client, seed=3, n=4, **fields)))) == 4
    assert texts(complete(client, seed=-(2**63), **fields)) != texts(complete(client, seed=2**63 - 1, **fields))


def test_a_stream_ends_with_its_usage_where_it_is_asked_for(client: TestClient) -> None:
    chunks = stream(client, max_tokens=30, n=2, stream_options={"include_usage": True})
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"] == {"prompt_tokens": 5, "completion_tokens": 60, "total_tokens": 65}
    assert all(chunk["usage"] is None for chunk in chunks[:-1])
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert all("usage" not in chunk for chunk in stream(client, max_tokens=3))
    assert all("usage" not in chunk for chunk in stream(client, max_tokens=3, stream_options={"include_usage": False}))


def test_tokens_and_slots_are_counted(client: TestClient) -> None:
    before = metric(client, 'axon_tokens_generated_total{model="sums"')
    complete(client, n=3, max_tokens=10)
    assert metric(client, 'axon_tokens_generated_total{model="sums"') == before + 30
    assert metric(client, 'axon_inference_request_success_total{model="sums"') > 0
    assert metric(client, 'axon_pending_requests{model="sums"') == 0


REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"max_tokens": -1}, "max_tokens", "invalid_option", "at least 0"),
    ({"max_tokens": 0}, "max_tokens", "invalid_option", "only with echo"),
    ({"max_tokens": 2001}, "max_tokens", "input_too_large", "2,000"),
    ({"max_tokens": 2000, "n": 3}, "max_tokens", "input_too_large", "3 texts of up to 2,000 tokens"),
    ({"max_tokens": 1, "prompt": "a" * 2000, "n": 3}, "max_tokens", "input_too_large", "6,003 tokens"),
    ({"max_tokens": "5"}, "max_tokens", "invalid_option", "whole number"),
    ({"max_tokens": 1.5}, "max_tokens", "invalid_option", "whole number"),
    ({"max_tokens": True}, "max_tokens", "invalid_option", "whole number"),
    ({"temperature": 2.1}, "temperature", "invalid_option", "at most 2"),
    ({"temperature": -0.1}, "temperature", "invalid_option", "at least 0"),
    ({"temperature": "hot"}, "temperature", "invalid_option", "number"),
    ({"top_p": 1.1}, "top_p", "invalid_option", "at most 1"),
    ({"top_p": -0.1}, "top_p", "invalid_option", "at least 0"),
    ({"min_p": 2}, "min_p", "invalid_option", "at most 1"),
    ({"top_k": -2}, "top_k", "invalid_option", "at least -1"),
    ({"repetition_penalty": 0}, "repetition_penalty", "invalid_option", "more than 0"),
    ({"presence_penalty": 2.1}, "presence_penalty", "invalid_option", "at most 2"),
    ({"frequency_penalty": -2.1}, "frequency_penalty", "invalid_option", "at least -2"),
    ({"n": 0}, "n", "invalid_option", "at least 1"),
    ({"n": 129}, "n", "invalid_option", "at most 128"),
    ({"n": 3, "best_of": 2}, "best_of", "invalid_option", "at least n"),
    ({"best_of": 2, "stream": True}, "stream", "invalid_option", "cannot be streamed"),
    ({"logprobs": 6}, "logprobs", "invalid_option", "at most 5"),
    ({"logprobs": True}, "logprobs", "invalid_option", "whole number"),
    ({"suffix": "the end"}, "suffix", "invalid_option", "not supported"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_option", "at most 4"),
    ({"stop": ""}, "stop", "invalid_option", "1 to 256"),
    ({"stop": [1]}, "stop", "invalid_option", "string"),
    ({"stop": {"a": "b"}}, "stop", "invalid_option", "string"),
    ({"stream_options": {"include_usage": True}}, "stream_options", "invalid_option", "only with stream"),
    ({"stream": True, "stream_options": {"usage": True}}, "stream_options", "invalid_option", "stream_options.usage is not"),
    ({"stream_options": {"include_usage": 5}}, "stream_options", "invalid_option", "stream_options.include_usage must be true or false"),
    ({"stream_options": 5}, "stream_options", "invalid_option", "stream_options must be an object"),
    ({"logit_bias": {"67": 1}}, "logit_bias", "invalid_option", "0 to 66"),
    ({"logit_bias": {"a": 1}}, "logit_bias", "invalid_option", "no token id"),
    ({"logit_bias": {"1": 101}}, "logit_bias", "invalid_option", "logit_bias.1 must be at most 100"),
    ({"logit_bias": {"5": True}}, "logit_bias", "invalid_option", "logit_bias.5 must be a number"),
    ({"logit_bias": {"str": True, "list[str]": True}}, "logit_bias", "invalid_option", "logit_bias.str must be a number"),
    ({"logit_bias": {"5" * 1000: True}}, "logit_bias", "invalid_option", f"logit_bias.{'5' * 53} must be a number"),
    ({"seed": 2**63}, "seed", "invalid_option", "less than"),
    ({"user": 5}, "user", "invalid_option", "string"),
    ({"echo": "yes"}, "echo", "invalid_option", "true or false"),
    ({"magic": 1}, "magic", "invalid_option", "not an option"),
    ({"prompt": "café"}, "prompt", "invalid_option", "'é'"),
    ({"prompt": []}, "prompt", "invalid_option", "empty list"),
    ({"prompt": [1, "a"]}, "prompt", "invalid_option", "list of strings"),
    ({"prompt": [[1, "a"]]}, "prompt", "invalid_option", "list of token ids"),
    ({"prompt": [True]}, "prompt", "invalid_option", "list of strings"),
    ({"prompt": 5}, "prompt", "invalid_option", "list of strings"),
    ({"prompt": {"a": 1}}, "prompt", "invalid_option", "list of strings"),
    ({"prompt": [67]}, "prompt", "invalid_option", "between 0 and 66"),
    ({"prompt": [-1]}, "prompt", "invalid_option", "between 0 and 66"),
    ({"prompt": [10**30]}, "prompt", "invalid_option", "between 0 and 66"),
    ({"prompt": "a" * 3001}, "prompt", "input_too_large", "3,001 characters"),
    ({"prompt": [1] * 3001}, "prompt", "input_too_large", "3,001"),
    ({"prompt": ["a"] * 9}, "prompt", "input_too_large", "9 prompts"),
    ({"model": 5}, "model", "invalid_option", "string"),
]


@pytest.mark.parametrize(("fields", "param", "code", "says"), REFUSED, ids=lambda value: str(value)[:40])
def test_a_wrong_field_is_refused_by_name(client: TestClient, fields: dict[str, Any], param: str, code: str, says: str) -> None:
    response = client.post(URL, json={"model": "sums", "prompt": "Happy"} | fields)
    assert_refused(response, 400, code, param, says)


@pytest.mark.parametrize("missing", ["model", "prompt"])
def test_a_required_field_is_named(client: TestClient, missing: str) -> None:
    fields = {"model": "sums", "prompt": "Happy"}
    del fields[missing]
    assert_refused(client.post(URL, json=fields), 400, "invalid_option", missing, "is required")


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b'"text"', b'{"model": "sums", "prompt": "\\ud800"}', b"\xff"])
def test_a_body_that_is_no_json_object_is_refused(client: TestClient, body: bytes) -> None:
    assert_refused(client.post(URL, content=body, headers={"content-type": "application/json"}), 400, "bad_request", None)


def test_numbers_that_are_none_are_refused(client: TestClient) -> None:
    for number in ("NaN", "Infinity", "1e999"):
        body = f'{{"model": "sums", "prompt": "a", "temperature": {number}}}'.encode()
        response = client.post(URL, content=body, headers={"content-type": "application/json"})
        assert response.status_code == 400
        assert response.json()["error"]["type"] == "invalid_request_error"


def test_a_body_of_another_type_is_refused(client: TestClient) -> None:
    assert_refused(client.post(URL, data={"model": "sums"}), 400, "unsupported_media_type", None, "application/json")


def test_the_query_has_no_options(client: TestClient) -> None:
    response = client.post(URL, json={"model": "sums", "prompt": "a"}, params={"max_tokens": 3})
    assert_refused(response, 400, "invalid_option", "max_tokens", "not an option here")


def test_an_unknown_model_is_not_found_with_those_that_write(client: TestClient) -> None:
    for name in ("absent", "words"):  # the second one exists, but does not write
        response = client.post(URL, json={"model": name, "prompt": "a"})
        assert_refused(response, 404, "model_not_found", "model", "available: sums")


def test_a_wrong_path_method_or_deadline_has_openais_shape_too(client: TestClient) -> None:
    assert_refused(client.get(URL), 405, "method_not_allowed", None)
    assert_refused(client.post(f"{URL}/absent"), 404, "not_found", None)
    late = client.post(URL, json={"model": "sums", "prompt": "a"}, headers={"x-request-timeout-ms": "0"})
    assert_refused(late, 400, "invalid_option", "x-request-timeout-ms")


def test_a_deadline_that_passes_is_a_504_or_an_event(client: TestClient, character_models: Path) -> None:
    with serve(character_models, max_generated_tokens=10**8, max_request_tokens=10**9) as patient:
        fields = {"model": "sums", "prompt": "a", "max_tokens": 10**8}
        headers = {"x-request-timeout-ms": "200"}
        assert_refused(patient.post(URL, json=fields, headers=headers), 504, "deadline_exceeded", None)
        chunks = chunks_of(patient.post(URL, json=fields | {"stream": True}, headers=headers).text)
        assert chunks[-1]["error"]["code"] == "deadline_exceeded"
        assert set(chunks[-1]["error"]) == {"message", "type", "param", "code"}
        assert metric(patient, 'axon_inference_request_failure_total{model="sums",reason="timeout"') == 2
        assert complete(patient, max_tokens=3)["choices"]


def test_more_texts_than_the_model_takes_are_too_large(character_models: Path) -> None:
    with serve(character_models, max_live_sequences=4, max_waiting_sequences=4) as small:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("app.tasks.text_generation.openai.GeneratedText", lambda *_: pytest.fail("a text was begun"))
            response = small.post(URL, json={"model": "sums", "prompt": "a", "n": 9})
        assert_refused(response, 400, "input_too_large", None, "takes 8")
        assert len(complete(small, n=8, max_tokens=5)["choices"]) == 8


def test_a_run_that_fails_is_a_500_or_an_event_and_in_the_log(
    character_models: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(character_models) as client:
        repository = client.app_state["repository"]
        monkeypatch.setattr(repository.get("sums").session, "run", lambda tensors, stopper=None: 1 / 0)
        fields = {"model": "sums", "prompt": "a"}
        assert_refused(client.post(URL, json=fields), 500, "internal_error", None, "request id")
        chunks = chunks_of(client.post(URL, json=fields | {"stream": True}).text)
        assert [chunk["error"]["code"] for chunk in chunks] == ["internal_error"]
        assert "division by zero" not in json.dumps(chunks)
        assert "division by zero" in caplog.text
