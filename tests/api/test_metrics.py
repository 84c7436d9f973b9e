"""/metrics: the names and labels that dashboards rely on, each held by a request that moves it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app.runtime.run_threads import THREAD_NAME
from tests.api.metrics_page import metric
from tests.api.open_inference.requests import COLOURS_URL, SUMS_URL, WORDS_URL, pixels, send_binary, tensor
from tests.character_models import write_summing_model
from tests.conftest import serve
from tests.model_repository import edit_manifest, picture, write_colour_model, write_word_model
from tests.slow_models import write_slow_model

WORDS, COLOURS, SUMS, SLOW = (
    "/v1/text-classification/words",
    "/v1/image-classification/colours",
    "/v1/text-generation/sums",
    "/v1/text-classification/slow",
)
MODEL = {"model", "version"}
DESIGN: dict[str, tuple[str, set[str]]] = {  # name -> (type, labels)
    "axon_inference_request_success": ("counter", MODEL),
    "axon_inference_request_failure": ("counter", MODEL | {"reason"}),
    "axon_inference_count": ("counter", MODEL),
    "axon_inference_exec_count": ("counter", MODEL),
    "axon_pending_requests": ("gauge", MODEL),
    "axon_queue_seconds": ("histogram", MODEL),
    "axon_compute_seconds": ("histogram", MODEL | {"stage"}),
    "axon_request_seconds": ("histogram", MODEL),
    "axon_batch_size": ("histogram", MODEL),
    "axon_time_to_first_token_seconds": ("histogram", MODEL),
    "axon_tokens_generated": ("counter", MODEL),
    "axon_model_ready": ("gauge", MODEL),
    "axon_execution_provider_info": ("gauge", MODEL | {"requested", "actual"}),
}
FURTHER = {
    "axon_inference_failure_seconds", "axon_live_sequences", "axon_waiting_sequences", "axon_stuck_runs", "axon_request_wait_seconds",
    "axon_request_run_seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_colour_model(root)
    write_word_model(root)
    write_summing_model(root)
    return root


@pytest.fixture
def measured(models: Path) -> Iterator[TestClient]:
    """A server that has counted nothing yet."""
    with serve(models, max_body_bytes=100_000) as client:
        yield client


def samples(client: TestClient, name: str, **labels: str) -> dict[tuple[str, ...], float]:
    """By the values of the labels that are not asked for."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                found[tuple(value for key, value in sorted(sample.labels.items()) if key not in labels)] = sample.value
    return found


def failures(client: TestClient, model: str) -> dict[str, float]:
    """By reason."""
    found = samples(client, "axon_inference_request_failure_total", model=model, version="1")
    return {reason: count for (reason,), count in found.items() if count}


def test_the_names_the_types_and_the_labels_are_those_of_the_design(measured: TestClient) -> None:
    measured.post(COLOURS, content=picture(), headers={"content-type": "image/png"})
    measured.post(COLOURS, content=b"rubbish", headers={"content-type": "image/png"})
    families = {family.name: family for family in text_string_to_metric_families(measured.get("/metrics").text)}
    for name, (kind, labels) in DESIGN.items():
        assert families[name].type == kind, name
        assert {frozenset(set(sample.labels) - {"le"}) for sample in families[name].samples} == {frozenset(labels)}, name
    assert {name for name in families if name.startswith("axon_")} == set(DESIGN) | FURTHER
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds"} <= set(families)


def test_the_page_is_prometheus_text(measured: TestClient) -> None:
    response = measured.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "_created" not in response.text


def test_a_request_counts_once_its_rows_and_runs_as_many_as_there_were(measured: TestClient) -> None:
    assert measured.post(WORDS, json={"text": ["good", "bad", "film"]}).status_code == 200
    labels = '{model="words",version="1"'
    assert metric(measured, f"axon_inference_request_success_total{labels}") == 1
    assert metric(measured, f"axon_inference_count_total{labels}") == 3
    runs = metric(measured, f"axon_inference_exec_count_total{labels}")
    assert 1 <= runs <= 3
    for name in ("axon_queue_seconds", "axon_batch_size"):
        assert metric(measured, f"{name}_count{labels}") == runs
    assert metric(measured, f"axon_batch_size_sum{labels}") == 3
    assert metric(measured, f"axon_request_seconds_count{labels}") == 1
    assert 0 < metric(measured, f"axon_request_seconds_sum{labels}") < 5
    assert metric(measured, f"axon_pending_requests{labels}") == 0


def test_the_stages_are_measured_and_decoding_only_where_there_is_a_file(measured: TestClient) -> None:
    measured.post(COLOURS, content=picture(size=(1000, 800)), headers={"content-type": "image/png"})
    send_binary(measured, COLOURS_URL, {"inputs": [binary_image(picture(size=(1000, 800)))]}, encoded(picture(size=(1000, 800))))
    measured.post(COLOURS_URL, json={"inputs": [tensor("pixel_values", "UINT8", pixels("red"))]})
    measured.post(WORDS, json={"text": "good"})

    def counts(model: str) -> dict[str, float]:
        return {stage: count for (stage,), count in samples(measured, "axon_compute_seconds_count", model=model, version="1").items()}

    assert counts("colours") == {"decode": 2, "preprocess": 3, "infer": 3, "postprocess": 3}
    assert counts("words") == {"decode": 0, "preprocess": 1, "infer": 1, "postprocess": 1}
    seconds = {stage: value for (stage,), value in samples(measured, "axon_compute_seconds_sum", model="colours", version="1").items()}
    assert seconds["decode"] > 0.002  # of two pictures with 800,000 pixels each
    assert all(value > 0 for value in seconds.values())


def encoded(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


def binary_image(data: bytes) -> dict[str, Any]:
    return {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(encoded(data))}}


def test_a_generated_text_counts_its_tokens_and_the_time_to_the_first(measured: TestClient) -> None:
    for count in (5, 7):
        assert measured.post(SUMS, json={"prompt": "a", "max_tokens": count}).status_code == 200
    labels = '{model="sums",version="1"'
    assert metric(measured, f"axon_tokens_generated_total{labels}") == 12
    assert metric(measured, f"axon_time_to_first_token_seconds_count{labels}") == 2
    assert metric(measured, f"axon_inference_request_success_total{labels}") == 2


def test_a_model_that_is_refused_is_not_ready_and_one_that_is_warm_is(tmp_path: Path) -> None:
    write_word_model(tmp_path)
    edit_manifest(write_colour_model(tmp_path), lambda fields: fields.update(temprature=2))
    (write_word_model(tmp_path, "wrong") / "golden" / "request.txt").write_text("bad", encoding="utf-8")
    with serve(tmp_path) as client:
        assert samples(client, "axon_model_ready") == {("colours", "1"): 0, ("words", "1"): 1, ("wrong", "1"): 0}
        (provider,) = samples(client, "axon_execution_provider_info")
        assert provider == ("CPUExecutionProvider", "words", "CPUExecutionProvider", "1")


BROKEN: dict[str, tuple[str, dict[str, Any]]] = {  # what is malformed -> (model, request)
    "a picture": ("colours", {"url": COLOURS, "content": b"rubbish", "headers": {"content-type": "image/png"}}),
    "an option": ("colours", {"url": f"{COLOURS}?threshold=7", "content": picture(), "headers": {"content-type": "image/png"}}),
    "a content type": ("colours", {"url": COLOURS, "content": b"x", "headers": {"content-type": "text/plain"}}),
    "a deadline": ("words", {"url": WORDS, "json": {"text": "good"}, "headers": {"x-request-timeout-ms": "soon"}}),
    "JSON": ("words", {"url": WORDS, "content": b'{"text": ', "headers": {"content-type": "application/json"}}),
    "a field": ("words", {"url": WORDS, "json": {"text": 7}}),
    "too large a body": ("words", {"url": WORDS, "content": b" " * 100_001, "headers": {"content-type": "application/json"}}),
    "a prompt": ("sums", {"url": SUMS, "json": {"prompt": "§"}}),
    "a completion": ("sums", {"url": "/v1/completions", "json": {"model": "sums", "prompt": "a", "suffix": "b"}}),
    "JSON under /v2": ("words", {"url": WORDS_URL, "content": b"{"}),
    "an input under /v2": ("words", {"url": WORDS_URL, "json": {"inputs": []}}),
    "a shape under /v2": ("colours", {"url": COLOURS_URL, "json": {"inputs": [tensor("pixel_values", "UINT8", pixels("red")[0])]}}),
    "gzip under /v2": ("words", {"url": WORDS_URL, "content": b"x", "headers": {"content-encoding": "gzip"}}),
    "the wrong kind under /v2": ("words", {"url": "/v2/models/words/generate", "json": {"text_input": "a"}}),
    "a model that writes, under /v2": ("sums", {"url": SUMS_URL, "json": {"inputs": [{"name": "x", "datatype": "BOOL", "shape": [1]}]}}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_whatever_is_malformed_is_an_invalid_request_of_the_model_that_was_asked(measured: TestClient, what: str) -> None:
    model, request = BROKEN[what]
    assert 400 <= measured.post(**request).status_code < 500
    assert failures(measured, model) == {"invalid": 1}
    assert metric(measured, f'axon_inference_request_success_total{{model="{model}"') == 0


def test_what_asks_no_model_for_an_answer_is_nobodys_failure(measured: TestClient) -> None:
    for method, path in (
        ("GET", f"{COLOURS}/roc?target=absent"),
        ("GET", "/v2/models/words/versions/9"),
        ("POST", "/v1/text-classification/absent"),
        ("POST", "/v2/models/words/versions/9/infer"),
        ("POST", "/v2/models/absent/infer"),
        ("POST", "/absent"),
        ("POST", "/v2/repository/models/words/load"),
    ):
        assert measured.request(method, path).status_code >= 400, path
    assert not any(samples(measured, "axon_inference_request_failure_total").values())


def test_a_full_queue_is_rejected_and_a_deadline_that_passes_is_a_timeout(tmp_path: Path) -> None:
    write_slow_model(tmp_path)
    with serve(tmp_path, cores=1, max_queue_size=2) as client, ThreadPoolExecutor(8) as clients:
        busy = [clients.submit(client.post, SLOW, json={"text": "wait " * 40}) for _ in range(8)]
        statuses = [request.result().status_code for request in busy]
        assert client.post(SLOW, json={"text": "wait " * 40}, headers={"x-request-timeout-ms": "1"}).status_code == 504
        assert failures(client, "slow") == {"rejected": statuses.count(429), "timeout": 1}
        assert statuses.count(429) > 0
        assert metric(client, 'axon_inference_request_success_total{model="slow"') == statuses.count(200)


def test_a_request_that_comes_when_the_server_is_stopping_is_rejected(measured: TestClient) -> None:
    measured.app_state["draining"] = True
    assert measured.post(WORDS, json={"text": "good"}).status_code == 503
    assert measured.post(WORDS_URL, json={}).status_code == 503
    assert failures(measured, "words") == {"rejected": 2}


def test_a_run_that_does_not_come_back_is_the_backends_failure(tmp_path: Path) -> None:
    write_slow_model(tmp_path)
    others = set(threading.enumerate())  # of servers that further tests have
    with serve(tmp_path, cores=1, stuck_run_timeout_ms=100) as client:
        assert client.post(SLOW, json={"text": "hang"}).status_code == 503
        assert failures(client, "slow") == {"backend": 1}
        assert metric(client, 'axon_stuck_runs_total{model="slow"') >= 1
    give_up_at = time.monotonic() + 60
    while any(thread.name == THREAD_NAME for thread in set(threading.enumerate()) - others):
        assert time.monotonic() < give_up_at, "a run that still hangs when Python ends would take it down"
        time.sleep(0.05)


def test_a_client_that_leaves_has_cancelled(tmp_path: Path) -> None:
    write_slow_model(tmp_path)
    with serve(tmp_path, cores=1) as client:
        leave(client, SLOW, {"text": "wait " * 100})
        give_up_at = time.monotonic() + 20
        while not failures(client, "slow") and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert failures(client, "slow") == {"cancelled": 1}
        assert metric(client, 'axon_pending_requests{model="slow"') == 0


def test_a_client_that_leaves_a_text_has_cancelled(character_models: Path) -> None:
    with serve(character_models) as client:
        assert samples(client, "axon_inference_request_failure_total", model="sums", version="1")[("cancelled",)] == 0  # not absent
        leave(client, "/v1/text-generation/sums", {"max_tokens": 4096})
        assert failures(client, "sums") == {"cancelled": 1}


def leave(client: TestClient, path: str, body: dict[str, Any]) -> None:
    """Send a request, and hang up when it has been read."""
    content = json.dumps(body).encode()
    messages = [{"type": "http.request", "body": content, "more_body": False}, {"type": "http.disconnect"}]
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]

    async def receive() -> dict[str, Any]:
        if len(messages) == 1:
            await asyncio.sleep(0.05)  # the work has begun
        return messages.pop(0)

    async def send(message: Any) -> None:
        pass

    async def ask() -> None:
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b""}
        more = {"headers": headers, "client": ("test", 1), "server": ("test", 80), "scheme": "http", "root_path": ""}
        await client.app(scope | more | {"state": client.app_state.copy()}, receive, send)  # type: ignore[arg-type]

    assert client.portal is not None
    client.portal.call(ask)
