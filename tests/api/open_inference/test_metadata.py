"""What /v2 tells of the server and of its models."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app import __version__
from app.main import create_app
from app.settings import Settings
from tests.api.metrics_page import metric
from tests.api.open_inference.requests import COLOURS_URL, SUMS_URL, WORDS_URL, assert_refused, character_tensors, tensor, text_input
from tests.conftest import serve
from tests.model_repository import edit_manifest, write_colour_model, write_word_model

PATHS = ["/v2/models/{}", "/v2/models/{}/versions/1"]


def test_the_server_names_the_extensions_that_work(v2: TestClient) -> None:
    assert v2.get("/v2").json() == {
        "name": "axon",
        "version": __version__,
        "extensions": ["binary_tensor_data", "model_repository", "statistics", "model_configuration"],
    }


def test_alive_and_ready_are_said_in_the_protocols_words(v2: TestClient) -> None:
    assert v2.get("/v2/health/live").json() == {"live": True}
    assert v2.get("/v2/health/ready").json() == {"ready": True}
    for path in PATHS:
        assert v2.get(path.format("sums") + "/ready").json() == {"ready": True, "name": "sums"}
    assert v2.get("/v2/models").json() == {"models": ["colours", "sums", "words"]}


def test_a_server_that_is_not_ready_says_why(tmp_path: Path) -> None:
    with serve(tmp_path / "absent") as client:
        assert_refused(client.get("/v2/health/ready"), 503, "it has no model")
    write_word_model(tmp_path)
    edit_manifest(write_colour_model(tmp_path), lambda fields: fields.update(temprature=2))
    with serve(tmp_path) as client:
        assert_refused(client.get("/v2/health/ready"), 503, "colours is refused")
        assert client.get("/v2/health/live").status_code == 200
        for path in ("", "/ready", "/config", "/stats"):
            assert_refused(client.get(f"/v2/models/colours{path}"), 503, "it was refused")
            assert client.get(f"/v2/models/words{path}").status_code == 200
        (colours, words) = client.post("/v2/repository/index").json()
        assert (colours["state"], words["state"], words["reason"]) == ("UNAVAILABLE", "READY", "")
        assert "unknown field temprature" in colours["reason"]
        assert client.post("/v2/repository/index", json={"ready": True}).json() == [words]
    with serve(tmp_path, strict_readiness=False) as client:
        assert client.get("/v2/health/ready").json() == {"ready": True}


@pytest.mark.parametrize("path", PATHS)
def test_a_model_that_is_stuck_is_not_ready(tmp_path: Path, path: str) -> None:
    write_word_model(tmp_path)
    with serve(tmp_path) as client:
        client.app_state["repository"].get("words").health.problem = "a run took longer than 1 s"
        assert_refused(client.get(path.format("words") + "/ready"), 503, "the model 'words' is not ready: a run took longer than 1 s")
        assert client.get(path.format("words")).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_a_models_metadata_are_its_graphs(v2: TestClient, path: str) -> None:
    assert v2.get(path.format("words")).json() == {
        "name": "words",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]},
            {"name": "lengths", "datatype": "INT64", "shape": [-1]},
        ],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}],
    }


@pytest.mark.parametrize("path", PATHS)
def test_a_batched_models_configuration_has_the_shapes_of_a_row(v2: TestClient, path: str) -> None:
    assert v2.get(path.format("colours") + "/config").json() == {
        "name": "colours",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"all": {}},
        "max_batch_size": 8,
        "input": [{"name": "pixel_values", "data_type": "TYPE_UINT8", "dims": [3, 32, 32]}],
        "output": [{"name": "logits", "data_type": "TYPE_FP32", "dims": [3]}],
        "dynamic_batching": {"max_queue_delay_microseconds": 0},
        "parameters": {"encoded_input": {"string_value": "image"}},
    }


def test_a_model_that_writes_has_no_batches_here(v2: TestClient) -> None:
    configured = v2.get("/v2/models/sums/config").json()
    assert configured["max_batch_size"] == 0
    assert configured["input"][2] == {"name": "state", "data_type": "TYPE_FP32", "dims": [-1, 1]}
    assert not {"dynamic_batching", "parameters"} & set(configured)


def test_the_statistics_add_up(all_tasks: Path) -> None:
    with serve(all_tasks) as client:
        for texts in (["good", "bad", "film"], ["good"]):
            assert client.post(WORDS_URL, json={"inputs": [text_input(*texts)]}).status_code == 200
        client.post("/v1/text-classification/words", json={"text": "good"})
        client.post(WORDS_URL, json={"inputs": [text_input("")]})
        (words,) = client.get("/v2/models/words/versions/1/stats").json()["model_stats"]
        assert (words["name"], words["version"], words["inference_count"]) == ("words", "1", 5)
        stats = words["inference_stats"]
        assert 3 <= words["execution_count"] <= 5
        counts = {name: duration["count"] for name, duration in stats.items()}
        assert counts == {"success": 3, "fail": 1, "queue": 3, "compute_input": 3, "compute_infer": 3, "compute_output": 3}
        assert all(duration["ns"] > 0 for duration in stats.values())
        parts = sum(stats[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output"))
        assert parts < stats["success"]["ns"]
        colours = next(entry for entry in client.get("/v2/models/stats").json()["model_stats"] if entry["name"] == "colours")
        assert colours["inference_stats"]["success"] == {"count": 0, "ns": 0}


def test_the_runs_of_a_model_that_writes_are_counted_too(all_tasks: Path) -> None:
    with serve(all_tasks) as client:
        tensors = character_tensors("abc")
        inputs = [tensor(name, "FP32" if name == "state" else "INT64", array) for name, array in tensors.items()]
        assert client.post(SUMS_URL, json={"inputs": inputs}).status_code == 200
        (sums,) = client.get("/v2/models/sums/stats").json()["model_stats"]
        assert (sums["inference_count"], sums["execution_count"]) == (1, 1)
        assert {name: each["count"] for name, each in sums["inference_stats"].items()} == {
            "success": 1, "fail": 0, "queue": 1, "compute_input": 1, "compute_infer": 1, "compute_output": 1,
        }  # fmt: skip
        assert client.post("/v2/models/sums/generate", json={"text_input": "a"}).status_code == 200
        assert metric(client, 'axon_request_seconds_count{model="sums"') == 2
        (sums,) = client.get("/v2/models/sums/stats").json()["model_stats"]
        assert [sums["inference_stats"][name]["count"] for name in ("success", "queue", "compute_infer")] == [2, 2, 2]


def test_a_bug_is_a_sentence_too(all_tasks: Path, caplog: pytest.LogCaptureFixture) -> None:
    def with_a_bug(app: FastAPI) -> FastAPI:
        @app.get("/v2/bug")
        async def bug() -> None:
            raise RuntimeError("secret of /etc/passwd")

        return app

    with TestClient(with_a_bug(create_app(Settings(models=all_tasks, cores=1))), raise_server_exceptions=False) as client:
        assert_refused(client.get("/v2/bug"), 500, "the server failed to answer")
    assert "secret of /etc/passwd" in caplog.text


def test_each_answer_carries_a_request_id(v2: TestClient) -> None:
    for response in (v2.get("/v2"), v2.get("/v2/absent"), v2.post(COLOURS_URL, content=b"{")):
        assert response.headers["x-request-id"]
