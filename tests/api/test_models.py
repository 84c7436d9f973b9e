"""`GET /v1/models` and the model cards."""

from __future__ import annotations

from pathlib import Path

from starlette.testclient import TestClient

from app.contract.manifest import ModelManifest
from tests.api.error_shape import assert_refused


def test_the_list_satisfies_an_openai_client_and_a_person(client: TestClient) -> None:
    answer = client.get("/v1/models").json()
    assert answer["object"] == "list"
    assert [entry["id"] for entry in answer["data"]] == ["colours", "words"]
    assert answer["data"][0] == {
        "id": "colours",
        "object": "model",
        "created": 1767323045,  # 2026-01-02T03:04:05Z
        "owned_by": "axon",
        "task": "image-classification",
        "version": "1",
        "versions": ["1"],
        "title": "Toy model colours",
    }


def test_the_card_is_the_manifest_that_lies_beside_the_weights(client: TestClient, toy_models: Path) -> None:
    answer = client.get("/v1/models/colours").json()
    written = (toy_models / "colours" / "1" / "manifest.json").read_bytes()
    assert ModelManifest.model_validate_json(written) == ModelManifest.model_validate(answer["card"])
    assert answer["card"]["labels"] == [{"name": colour, "title": colour.title()} for colour in ("red", "green", "blue")]
    assert answer["execution_provider"] == {"requested": "CPUExecutionProvider", "actual": "CPUExecutionProvider"}


def test_the_card_of_an_unknown_model_names_those_that_exist(client: TestClient) -> None:
    assert_refused(client.get("/v1/models/absent"), 404, "model_not_found", param="model", says="available: colours, words")


def test_there_are_no_options(client: TestClient) -> None:
    for path in ("/v1/models", "/v1/models/words"):
        assert_refused(client.get(path, params={"limit": 3}), 422, "invalid_option", param="limit", says="not an option here")
    assert_refused(client.get("/v1/models?version=1"), 422, "invalid_option", param="version")
    assert_refused(client.get("/v1/models/words?version=1&version=2"), 422, "invalid_option", param="version", says="given twice")


def test_an_unknown_model_is_refused_with_those_of_the_task(client: TestClient) -> None:
    image = client.post("/v1/image-classification/absent", content=b"x", headers={"content-type": "image/png"})
    assert_refused(image, 404, "model_not_found", param="model", says="available: colours")
    text = client.post("/v1/text-classification/absent", json={"text": "good"})
    assert_refused(text, 404, "model_not_found", param="model", says="available: words")
    assert_refused(client.get("/v1/image-classification/absent/roc"), 404, "model_not_found", param="model", says="available: colours")


def test_a_model_of_another_task_is_not_found_here(client: TestClient) -> None:
    response = client.post("/v1/text-classification/colours", json={"text": "good"})
    assert_refused(response, 404, "model_not_found", param="model", says="available: words")


def test_a_model_name_of_any_length_gets_a_short_answer(client: TestClient) -> None:
    assert_refused(client.post("/v1/text-classification/" + "a" * 5000, json={"text": "good"}), 404, "model_not_found", param="model")
    assert_refused(client.get("/v1/models/..%2f..%2fetc%2fpasswd"), 404, "not_found")
