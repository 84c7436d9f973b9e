"""`POST /v1/text-classification/{model}`, on a model whose answers are known: the sum of its words' weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.contract.classification import softmax
from tests.api.error_shape import assert_refused
from tests.model_repository import HEAD_TOKENS, MAX_TOKENS, word_logits

URL = "/v1/text-classification/words"


def results(client: TestClient, text: Any, **options: Any) -> list[dict[str, Any]]:
    response = client.post(URL, json={"text": text, **options})
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["results"]
    return found


def p_positive(*words: str) -> float:
    return float(softmax(word_logits(*words))[1])


def test_one_string_gets_one_result(client: TestClient) -> None:
    (result,) = results(client, "The GOOD film")
    assert result["label"] == "positive"
    assert result["probability"] == pytest.approx(p_positive("the", "good", "film"), abs=1e-6)
    assert result["scores"] == {
        "negative": pytest.approx(1 - result["probability"]),
        "positive": pytest.approx(result["probability"]),
    }
    assert result["truncated"] is False
    assert result["explanation"] is None


def test_a_list_gets_a_result_a_text_in_order(client: TestClient) -> None:
    texts = ["good", "bad", "not bad at all and not the film", "film"]
    expected = [p_positive("good"), p_positive("bad"), p_positive("not", "bad", "not", "film"), p_positive("film")]
    assert [result["scores"]["positive"] for result in results(client, texts)] == pytest.approx(expected, abs=1e-6)


def test_an_answer_does_not_depend_on_the_other_texts(client: TestClient) -> None:
    alone = results(client, "not good")[0]["scores"]["positive"]
    crowd = results(client, ["bad " * 60, "not good", "film", "good " * 7])
    assert crowd[1]["scores"]["positive"] == pytest.approx(alone, abs=1e-6)


def test_a_word_that_the_model_does_not_know_counts_as_unknown(client: TestClient) -> None:
    assert results(client, "quux")[0]["scores"]["positive"] == pytest.approx(0.5, abs=1e-6)


def test_a_long_text_is_cut_in_its_middle_and_says_so(client: TestClient) -> None:
    middle = ["good"] * (MAX_TOKENS - 10)
    text = " ".join(["bad"] * HEAD_TOKENS + middle + ["the"] * (MAX_TOKENS - HEAD_TOKENS))
    (result,) = results(client, text)
    assert result["truncated"] is True
    assert result["scores"]["negative"] == pytest.approx(1.0, abs=1e-6)  # not one of the middle's words was read


def test_an_explanation_names_each_words_push(client: TestClient) -> None:
    text = "The film, not  good"
    (result,) = results(client, text, explain=True)
    explanation = result["explanation"]
    assert explanation["method"] == "occlusion"
    pushes = {piece["text"]: piece["contribution"] for piece in explanation["attributions"]}
    whole = p_positive("the", "film", "not", "good")
    assert pushes["good"] == pytest.approx(whole - p_positive("the", "film", "not"), abs=1e-6)
    assert pushes["not"] == pytest.approx(whole - p_positive("the", "film", "good"), abs=1e-6)
    assert pushes["not"] < 0 < pushes["film"] < pushes["good"]
    assert pushes["The"] == pytest.approx(0, abs=1e-6)
    assert all(text[piece["start"] : piece["end"]] == piece["text"] for piece in explanation["attributions"])


def test_an_explanation_counts_characters_not_bytes(client: TestClient) -> None:
    text = "\N{GRINNING FACE} \N{LATIN SMALL LETTER E WITH ACUTE}t\u00e9 good"
    attributions = results(client, text, explain=True)[0]["explanation"]["attributions"]
    assert [text[piece["start"] : piece["end"]] for piece in attributions][-1] == "good"


def test_an_explanation_never_spans_what_was_cut_out(client: TestClient) -> None:
    text = " ".join(["bad"] * 100 + ["good"] * 100)
    (result,) = results(client, text, explain=True)
    attributions = result["explanation"]["attributions"]
    assert len(attributions) <= 65
    assert max(len(piece["text"]) for piece in attributions) < 20
    assert sum(len(piece["text"].split()) for piece in attributions) == MAX_TOKENS


def test_the_one_word_of_a_text_is_weighed_against_a_word_that_nobody_knows(client: TestClient) -> None:
    (known,) = results(client, "good", explain=True)
    ((good,), (unknown,)) = (result["explanation"]["attributions"] for result in (known, *results(client, "zyx", explain=True)))
    assert (good["text"], good["contribution"] > 0.1) == ("good", True)
    assert (unknown["text"], unknown["contribution"]) == ("zyx", 0)


def test_an_option_may_stand_in_the_query(client: TestClient) -> None:
    response = client.post(URL, json={"text": "good"}, params={"explain": "true"})
    assert response.json()["results"][0]["explanation"] is not None
    for query, param, says in ({"typo": 1}, "typo", "not an option"), ({"text": "bad"}, "text", "given twice"):
        assert_refused(client.post(URL, json={"text": "good"}, params=query), 422, "invalid_option", param=param, says=says)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", ["good", ""]])
def test_an_empty_text_is_refused(client: TestClient, text: Any) -> None:
    assert_refused(client.post(URL, json={"text": text}), 422, "invalid_option", param="text", says="must not be empty")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (5, "text must be a string or a list of strings"),
        ({"list[str]": "good"}, "text must be a string or a list of strings"),
        (["good", 5], "text.1 must be a string"),
        ([["good"]], "text.0 must be a string"),
    ],
)
def test_what_is_no_text_is_named_with_its_place(client: TestClient, text: Any, says: str) -> None:
    error = assert_refused(client.post(URL, json={"text": text}), 422, "invalid_option", param="text")
    assert error["message"] == says


def test_an_empty_list_is_refused(client: TestClient) -> None:
    assert_refused(client.post(URL, json={"text": []}), 422, "invalid_option", param="text", says="empty list")


def test_200_000_characters_are_refused(client: TestClient) -> None:
    assert_refused(client.post(URL, json={"text": "good " * 40_000}), 413, "input_too_large", param="text", says="200,000 characters")


def test_1_000_texts_in_one_list_are_refused(client: TestClient) -> None:
    assert_refused(client.post(URL, json={"text": ["good"] * 1000}), 413, "input_too_large", param="text", says="the limit is 64")


def test_64_texts_in_one_list_are_answered(client: TestClient) -> None:
    assert len(results(client, ["good", "bad"] * 32)) == 64


def test_more_explanations_than_one_request_may_cost_are_refused(client: TestClient) -> None:
    response = client.post(URL, json={"text": ["good"] * 9, "explain": True})
    assert_refused(response, 422, "invalid_option", param="explain", says="at most 8")


@pytest.mark.parametrize(
    "body", [rb'{"text": "\ud800"}', rb'{"text": ["good", "\udfff bad"]}', b'{"text": "\xed\xa0\x80"}', b'{"text": "\xff"}']
)
def test_lone_surrogates_and_broken_utf8_are_refused(client: TestClient, body: bytes) -> None:
    response = client.post(URL, content=body, headers={"content-type": "application/json"})
    assert_refused(response, 400, "bad_request", says="not valid JSON")


def test_a_surrogate_pair_is_one_character(client: TestClient) -> None:
    response = client.post(URL, content=rb'{"text": "\ud83d\ude00 good"}', headers={"content-type": "application/json"})
    assert response.json()["results"][0]["label"] == "positive"


@pytest.mark.parametrize(
    ("body", "status", "kind", "param"),
    [
        (b"", 400, "bad_request", None),
        (b"  ", 400, "bad_request", None),
        (b"good film", 400, "bad_request", None),
        (b'{"text": "good"', 400, "bad_request", None),
        (b"[]", 400, "bad_request", None),
        (b'"good"', 400, "bad_request", None),
        (b"null", 400, "bad_request", None),
        (b"{}", 422, "invalid_option", "text"),
        (b'{"text": null}', 422, "invalid_option", "text"),
        (b'{"text": 3}', 422, "invalid_option", "text"),
        (b'{"text": [3]}', 422, "invalid_option", "text"),
        (b'{"text": {"a": 1}}', 422, "invalid_option", "text"),
        (b'{"text": "good", "explain": "perhaps"}', 422, "invalid_option", "explain"),
        (b'{"text": "good", "explain": "yes"}', 422, "invalid_option", "explain"),
        (b'{"text": "good", "explain": 1}', 422, "invalid_option", "explain"),
        (b'{"text": "good", "explian": true}', 422, "invalid_option", "explian"),
        (b'{"text": ' + b"[" * 100 + b"]" * 100 + b"}", 422, "invalid_option", "text"),
        (b'{"text": ' + b"[" * 50_000 + b"]" * 50_000 + b"}", 400, "bad_request", None),
        (b'{"text": NaN}', 422, "invalid_option", "text"),
    ],
)
def test_a_body_that_is_not_the_schema_is_refused(client: TestClient, body: bytes, status: int, kind: str, param: str | None) -> None:
    response = client.post(URL, content=body, headers={"content-type": "application/json"})
    assert_refused(response, status, kind, param=param)


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "image/png", ""]
)
def test_another_content_type_is_refused(client: TestClient, content_type: str) -> None:
    response = client.post(URL, content=b'{"text": "good"}', headers={"content-type": content_type} if content_type else {})
    assert_refused(response, 415, "unsupported_media_type", says="application/json")


def test_a_null_is_an_option_that_was_left_out(client: TestClient) -> None:
    answer = client.post(URL, json={"text": "good", "explain": None})
    assert (answer.status_code, answer.json()["results"][0]["explanation"]) == (200, None)


def test_a_charset_beside_the_content_type_does_not_matter(client: TestClient) -> None:
    response = client.post(URL, content=b'{"text": "good"}', headers={"content-type": "Application/JSON; charset=utf-8"})
    assert response.status_code == 200


def test_the_answer_of_a_list_sums_to_one_each(client: TestClient) -> None:
    sums = [sum(result["scores"].values()) for result in results(client, ["good", "bad bad", "film"])]
    assert np.allclose(sums, 1)
