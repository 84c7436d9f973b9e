"""Liveness, readiness, metrics: what an orchestrator asks."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.api.error_shape import assert_refused
from tests.api.metrics_page import metric
from tests.conftest import serve
from tests.model_repository import edit_manifest, picture, write_colour_model, write_word_model


@pytest.fixture
def half_broken(tmp_path: Path) -> Path:
    """A good word model, and a colour model with a typing slip in its manifest."""
    write_word_model(tmp_path)
    edit_manifest(write_colour_model(tmp_path), lambda fields: fields.update(temprature=2))
    return tmp_path


def test_live_answers_at_once(client: TestClient) -> None:
    assert client.get("/health/live").json() == {"status": "live"}


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/v2/health/ready", "/v1/models", "/docs", "/", "/nowhere"])
def test_head_is_answered_as_get_without_the_body(client: TestClient, path: str) -> None:
    answer, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (answer.status_code, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]


def test_ready_says_that_every_model_is_warm(client: TestClient) -> None:
    response = client.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "models": [{"name": name, "version": "1", "state": "ready"} for name in ("colours", "words")],
    }


def test_a_refused_model_is_named_with_what_to_do_and_the_others_are_served(half_broken: Path) -> None:
    with serve(half_broken) as client:
        response = client.get("/health/ready")
        assert response.status_code == 503
        colours, words = response.json()["models"]
        assert (colours["name"], colours["state"], words["state"]) == ("colours", "refused", "ready")
        assert "unknown field temprature; remove it or correct its name" in colours["reason"]
        assert client.post("/v1/text-classification/words", json={"text": "good"}).status_code == 200
        assert [entry["id"] for entry in client.get("/v1/models").json()["data"]] == ["words"]
        refused = client.post("/v1/image-classification/colours", content=picture(), headers={"content-type": "image/png"})
        assert_refused(refused, 503, "model_not_ready", param="model", says="/health/ready")
        assert client.get("/health/live").status_code == 200


def test_a_refused_model_does_not_matter_when_readiness_is_not_strict(half_broken: Path) -> None:
    with serve(half_broken, strict_readiness=False) as client:
        response = client.get("/health/ready")
        assert (response.status_code, response.json()["status"]) == (200, "ready")
        assert response.json()["models"][0]["state"] == "refused"


@pytest.mark.parametrize("strict", [True, False])
def test_a_server_without_a_model_is_alive_but_never_ready(tmp_path: Path, strict: bool) -> None:
    for root in (tmp_path, tmp_path / "absent"):
        with serve(root, strict_readiness=strict) as client:
            response = client.get("/health/ready")
            assert (response.status_code, response.json()) == (503, {"status": "not_ready", "models": []})
            assert client.get("/v1/models").json()["data"] == []
            assert client.get("/health/live").status_code == 200


def test_metrics_count_requests_rows_and_batches_by_model(toy_models: Path) -> None:
    with serve(toy_models) as client:
        client.post("/v1/text-classification/words", json={"text": ["good", "bad", "film"]})
        labels = '{model="words",version="1"'
        assert metric(client, f"axon_inference_request_success_total{labels}") == 1
        assert metric(client, f"axon_inference_count_total{labels}") == 3
        assert 1 <= metric(client, f"axon_inference_exec_count_total{labels}") <= 3
        assert metric(client, f"axon_pending_requests{labels}") == 0
        assert metric(client, f"axon_request_seconds_count{labels}") == 1
        assert metric(client, f"axon_model_ready{labels}") == 1
        assert metric(client, 'axon_execution_provider_info{actual="CPUExecutionProvider",model="words"') == 1
        for stage in ("preprocess", "infer", "postprocess"):
            assert metric(client, f'axon_compute_seconds_count{{model="words",stage="{stage}"') >= 1


def test_metrics_count_a_bad_picture_as_invalid(toy_models: Path) -> None:
    with serve(toy_models) as client:
        client.post("/v1/image-classification/colours", content=b"rubbish", headers={"content-type": "image/png"})
        assert metric(client, 'axon_inference_request_failure_total{model="colours",reason="invalid"') == 1
        assert metric(client, 'axon_inference_request_success_total{model="colours"') == 0


def test_two_servers_in_one_process_count_apart(toy_models: Path) -> None:
    with serve(toy_models) as one, serve(toy_models) as other:
        one.post("/v1/text-classification/words", json={"text": "good"})
        assert metric(one, 'axon_inference_count_total{model="words"') == 1
        assert metric(other, 'axon_inference_count_total{model="words"') == 0
