"""Versions of a model side by side, as clients of every face ask for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.api.error_shape import assert_refused
from tests.api.metrics_page import metric
from tests.character_models import write_summing_model
from tests.conftest import serve
from tests.model_repository import edit_manifest, picture, write_colour_model, write_word_model

PNG = {"headers": {"content-type": "image/png"}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for version in ("1", "2", "10"):
        write_word_model(root, version=version, title=f"Words {version}")
        write_summing_model(root, version=version)
        write_colour_model(root, version=version)
    return root


@pytest.fixture(scope="module")
def client(models: Path) -> Iterator[TestClient]:
    with serve(models) as client:
        yield client


ASKED = [("", "10"), ("?version=10", "10"), ("?version=1", "1")]


@pytest.mark.parametrize(("query", "version"), ASKED)
def test_every_task_takes_a_version_and_says_which_answered(client: TestClient, query: str, version: str) -> None:
    answers = [
        client.post(f"/v1/text-classification/words{query}", json={"text": "good"}),
        client.post(f"/v1/text-generation/sums{query}", json={"prompt": "A", "max_tokens": 3}),
        client.post(f"/v1/image-classification/colours{query}", content=picture(), **PNG),
        client.get(f"/v1/image-classification/colours/roc{query}"),
    ]
    assert [answer.json()["model"]["version"] for answer in answers] == [version] * 4


def test_a_version_stands_beside_other_options(client: TestClient) -> None:
    answer = client.post("/v1/image-classification/colours?top_k=1&version=2", content=picture(), **PNG)
    assert (answer.json()["model"]["version"], len(answer.json()["predictions"])) == ("2", 1)


@pytest.mark.parametrize("version", ["3", "0", "01", "latest", "", "1/../2", "9" * 300])
def test_a_version_that_is_not_there_is_not_found_and_those_that_are_are_named(client: TestClient, version: str) -> None:
    refused = client.post("/v1/text-classification/words", params={"version": version}, json={"text": "good"})
    assert_refused(refused, 404, "model_not_found", param="model", says="there is no model 'words@")
    assert "available: words@1, words@2, words@10" in refused.json()["error"]["message"]
    assert len(refused.content) < 400


@pytest.mark.parametrize(("model", "version"), [("sums", "10"), ("sums@10", "10"), ("sums@1", "1")])
def test_openais_clients_ask_for_a_version_in_the_models_name(client: TestClient, model: str, version: str) -> None:
    before = _texts(client, version)
    answer = client.post("/v1/completions", json={"model": model, "prompt": "A", "max_tokens": 3})
    assert (answer.status_code, answer.json()["model"]) == (200, model)
    assert _texts(client, version) == before + 1


def _texts(client: TestClient, version: str) -> float:
    return metric(client, f'axon_inference_request_success_total{{model="sums",version="{version}"')


def test_openais_clients_hear_of_a_version_that_is_not_there(client: TestClient) -> None:
    refused = client.post("/v1/completions", json={"model": "sums@7", "prompt": "A"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert "available: sums@1, sums@2, sums@10" in refused.json()["error"]["message"]


def test_every_face_of_v1_takes_a_name_with_its_version(client: TestClient) -> None:
    assert client.get("/v1/models/words@2").json()["version"] == "2"
    answer = client.post("/v1/text-classification/words@1", json={"text": "good"})
    assert answer.json()["model"] == {"name": "words", "version": "1"}
    assert_refused(client.get("/v1/models/words@1?version=1"), 422, "invalid_option", param="version", says="given twice")


@pytest.mark.parametrize("name", ["sums@", "sums@7", "sums@1@1"])
def test_a_name_with_no_version_of_the_model_is_not_found(client: TestClient, name: str) -> None:
    says = f"there is no model '{name}'; available: sums@1, sums@2, sums@10"
    assert_refused(client.get(f"/v1/models/{name}"), 404, "model_not_found", param="model", says=says)
    completion = client.post("/v1/completions", json={"model": name, "prompt": "A"})
    assert (completion.status_code, completion.json()["error"]["message"]) == (404, says)


def test_the_list_has_the_newest_and_the_card_is_of_the_version_asked_for(client: TestClient) -> None:
    entries = {entry["id"]: entry for entry in client.get("/v1/models").json()["data"]}
    assert (entries["words"]["version"], entries["words"]["versions"]) == ("10", ["10", "2", "1"])
    assert client.get("/v1/models/words").json()["card"]["title"] == "Words 10"
    older = client.get("/v1/models/words?version=2").json()
    assert (older["version"], older["versions"], older["card"]["title"]) == ("2", ["10", "2", "1"], "Words 2")
    assert_refused(client.get("/v1/models/words?version=3"), 404, "model_not_found", param="model", says="available: words@1")


def test_v2_names_versions_in_the_path(client: TestClient) -> None:
    request = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}]}
    for path, version in (("", "10"), ("/versions/1", "1"), ("/versions/10", "10")):
        assert client.get(f"/v2/models/words{path}").json()["versions"] == ["1", "2", "10"]
        assert client.post(f"/v2/models/words{path}/infer", json=request).json()["model_version"] == version
        assert client.get(f"/v2/models/words{path}/ready").status_code == 200
        (stats,) = client.get(f"/v2/models/words{path}/stats").json()["model_stats"]
        assert (stats["name"], stats["version"]) == ("words", version)
    refused = client.get("/v2/models/words/versions/3")
    assert (refused.status_code, refused.json()["error"]) == (
        404,
        "there is no model 'words@3'; available: words@1, words@2, words@10",
    )
    generated = client.post("/v2/models/sums/versions/2/generate", json={"text_input": "A", "parameters": {"max_tokens": 3}})
    assert generated.json()["model_version"] == "2"


def test_v2_lists_models_once_and_versions_in_statistics_and_index(client: TestClient) -> None:
    assert client.get("/v2/models").json()["models"] == ["colours", "sums", "words"]
    stats = client.get("/v2/models/stats").json()["model_stats"]
    assert [(each["name"], each["version"]) for each in stats][:3] == [("colours", "10"), ("colours", "2"), ("colours", "1")]
    index = client.post("/v2/repository/index").json()
    assert [(each["name"], each["version"], each["state"]) for each in index][-2:] == [("words", "2", "READY"), ("words", "1", "READY")]


def test_ready_names_every_version(client: TestClient) -> None:
    models = client.get("/health/ready").json()["models"]
    assert [(each["name"], each["version"]) for each in models][:3] == [("colours", "10"), ("colours", "2"), ("colours", "1")]


def test_a_broken_version_is_told_and_the_others_answer(tmp_path: Path) -> None:
    write_word_model(tmp_path)
    edit_manifest(write_word_model(tmp_path, version="2"), lambda fields: fields.update(temprature=2))
    with serve(tmp_path) as client:
        ready = client.get("/health/ready")
        assert ready.status_code == 503  # at the start, so that a rollout stops here
        assert [(each["version"], each["state"]) for each in ready.json()["models"]] == [("2", "refused"), ("1", "ready")]
        answer = client.post("/v1/text-classification/words", json={"text": "good"})
        assert (answer.status_code, answer.json()["model"]["version"]) == (200, "1")
        refused = client.post("/v1/text-classification/words?version=2", json={"text": "good"})
        assert_refused(refused, 503, "model_not_ready", param="model", says="'words@2' is not ready: it was refused")
