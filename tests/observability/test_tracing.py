"""Traces: one span a request, none unless they are asked for, and nothing in them that somebody wrote."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient

from app.main import create_app
from app.observability.tracing import tracer_provider
from app.settings import Settings
from tests.conftest import wait_until_loaded
from tests.e2e.server import ROOT, running_server

WORDS = "/v1/text-classification/words"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Traced:
    """An application whose spans can be looked at."""

    def __init__(self, client: TestClient, exporter: InMemorySpanExporter, provider: Any) -> None:
        self.client, self._exporter, self._provider = client, exporter, provider

    def spans(self) -> Sequence[ReadableSpan]:
        """Those since this was last called."""
        self._provider.force_flush()
        found = self._exporter.get_finished_spans()
        self._exporter.clear()
        return found

    def span(self) -> ReadableSpan:
        (span,) = self.spans()
        return span


@pytest.fixture
def traced(toy_models: Path) -> Iterator[Traced]:
    exporter = InMemorySpanExporter()
    provider = tracer_provider(exporter)
    with TestClient(create_app(Settings(models=toy_models, cores=1), provider), raise_server_exceptions=False) as client:
        wait_until_loaded(client)
        yield Traced(client, exporter, provider)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_request_is_a_span_named_for_its_route(traced: Traced) -> None:
    assert traced.client.post(WORDS, json={"text": "good"}).status_code == 200
    span = traced.span()
    assert span.name == "POST /v1/text-classification/{model}"
    assert span.kind is SpanKind.SERVER
    found = attributes(span)
    assert (found["http.route"], found["http.response.status_code"]) == ("/v1/text-classification/{model}", 200)
    assert (span.resource.attributes["service.name"], span.parent) == ("axon", None)


def test_a_span_says_which_model_answered_and_where_the_time_went(traced: Traced) -> None:
    traced.client.post(WORDS, json={"text": "good"})
    tensors = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}]}
    assert traced.client.post("/v2/models/words/infer", json=tensors).status_code == 200
    for span in traced.spans():
        found = attributes(span)
        assert (found["axon.model"], found["axon.version"]) == ("words", "1")
        assert "axon.failure" not in found
        stages = [found[f"axon.{stage}_ms"] for stage in ("preprocess", "infer", "postprocess")]
        assert all(stage >= 0 for stage in stages)
        assert span.end_time is not None
        assert span.start_time is not None
        assert 0 < sum(stages) <= (span.end_time - span.start_time) / 1e6


def test_a_span_says_why_a_model_did_not_answer(traced: Traced) -> None:
    traced.client.post("/v1/image-classification/colours", content=b"rubbish", headers={"content-type": "image/png"})
    found = attributes(traced.span())
    assert (found["axon.model"], found["axon.failure"]) == ("colours", "invalid")


def test_the_callers_trace_is_continued(traced: Traced) -> None:
    traced.client.get("/v1/models", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
    span = traced.span()
    assert span.context is not None
    assert span.parent is not None
    assert trace.format_trace_id(span.context.trace_id) == TRACE
    assert trace.format_span_id(span.parent.span_id) == PARENT


def test_what_the_caller_does_not_sample_is_not_sampled_here(traced: Traced) -> None:
    traced.client.get("/v1/models", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert traced.spans() == ()


@pytest.mark.parametrize("value", ["", "rubbish", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-" + "x" * 5000])
def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(traced: Traced, value: str) -> None:
    assert traced.client.get("/v1/models", headers={"traceparent": value}).status_code == 200
    assert traced.span().parent is None


def test_no_text_no_query_and_no_header_of_a_client_is_in_a_span(traced: Traced) -> None:
    traced.client.post(f"{WORDS}?q=SECRET", json={"text": "SECRET"}, headers={"authorization": "Bearer SECRET", "user-agent": "SECRET"})
    traced.client.post(WORDS, content=b'{"text": "SECRET', headers={"content-type": "application/json"})
    for span in traced.spans():
        assert "SECRET" not in span.to_json()


def test_a_refusal_is_no_failure_of_the_server_and_a_bug_is(traced: Traced) -> None:
    app: Any = traced.client.app

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("SECRET")

    assert traced.client.post(WORDS, json={}).status_code == 422
    assert traced.client.get("/bug").status_code == 500
    refused, failed = traced.spans()
    assert (attributes(refused)["http.response.status_code"], refused.status.status_code) == (422, StatusCode.UNSET)
    assert (attributes(failed)["http.response.status_code"], failed.status.status_code) == (500, StatusCode.ERROR)
    assert "SECRET" not in failed.to_json()


def test_health_is_not_traced(traced: Traced) -> None:
    for path in ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"):
        assert traced.client.get(path).status_code == 200
    assert traced.spans() == ()


class Collector(HTTPServer):
    """Takes OTLP over HTTP, and keeps it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collect)
        self.requests: list[ExportTraceServiceRequest] = []

    def spans(self) -> list[Any]:
        return [span for each in self.requests for batch in each.resource_spans for scope in batch.scope_spans for span in scope.spans]


class _Collect(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces"
        self.server.requests.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def variables(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_the_real_server_sends_its_spans_to_a_collector_and_the_log_names_the_trace(toy_models: Path, tmp_path: Path) -> None:
    with (
        collector() as collected,
        variables(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collected.server_port}", OTEL_SERVICE_NAME="axon-test"),
        running_server(toy_models, tmp_path / "log", traces=True, log_format="json", cores=1) as server,
    ):
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "id-1"}
        assert httpx2.post(f"{server.address}{WORDS}", json={"text": "good"}, headers=headers).status_code == 200
        server.process.terminate()
        assert server.process.wait(20) in (0, -15)
        (span,) = collected.spans()
        services = [
            attribute for attribute in collected.requests[0].resource_spans[0].resource.attributes if attribute.key == "service.name"
        ]
    assert span.name == "POST /v1/text-classification/{model}"
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert services[0].value.string_value == "axon-test"
    (line,) = [line for line in map(json.loads, server.log().splitlines()) if line.get("request_id") == "id-1"]
    assert line["trace_id"] == TRACE


def test_without_the_setting_nothing_is_sent_whatever_the_environment_says(toy_models: Path, tmp_path: Path) -> None:
    with (
        collector() as collected,
        variables(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collected.server_port}", FASTAPI_OTEL_AUTO_CONFIGURE="true"),
        running_server(toy_models, tmp_path / "log", cores=1) as server,
    ):
        httpx2.post(f"{server.address}{WORDS}", json={"text": "good"})
        server.process.terminate()
        server.process.wait(20)
    assert collected.requests == []


def test_a_collector_that_is_away_stops_neither_the_answers_nor_the_stop(toy_models: Path, tmp_path: Path) -> None:
    with (
        variables(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9"),
        running_server(toy_models, tmp_path / "log", traces=True, log_format="json", cores=1) as server,
    ):
        assert httpx2.post(f"{server.address}{WORDS}", json={"text": "good"}).status_code == 200
        server.process.terminate()
        started = time.monotonic()
        assert server.process.wait(20) in (0, -15)
        assert time.monotonic() - started < 10
    for line in server.log().splitlines():
        json.loads(line)


def test_a_collector_that_takes_what_it_is_sent_and_never_answers_does_not_hold_up_the_stop(toy_models: Path, tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as collector,
        variables(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.getsockname()[1]}"),
        running_server(toy_models, tmp_path / "log", traces=True, cores=1) as server,
    ):
        assert httpx2.post(f"{server.address}{WORDS}", json={"text": "good"}).status_code == 200
        server.process.terminate()
        started = time.monotonic()
        assert server.process.wait(30) == 0
        assert time.monotonic() - started < 9


def test_without_the_extra_the_setting_is_refused_in_our_words() -> None:
    code = "import sys; sys.modules['opentelemetry.exporter'] = None; from app.__main__ import main; main()"
    environment = os.environ | {"AXON_TRACES": "true"}
    done = subprocess.run([sys.executable, "-c", code, "serve"], cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1
    assert done.stderr == "axon: AXON_TRACES: traces needs the extra axon[otel], which is not installed here\n"
