"""`axon serve` as an operator and a client meet it: over sockets and signals."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.e2e.server import ROOT, RunningServer, environment, running_server, wait_for
from tests.model_repository import picture, write_colour_model, write_word_model
from tests.slow_models import write_slow_model

WORDS = "/v1/text-classification/words"
SLOW = {"text": ["the " * 5_000] * 64}  # about a second of one core


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root, log_file = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("server") / "log"
    for write in (write_colour_model, write_word_model, write_slow_model):
        write(root)
    with running_server(root, log_file, cores=1, log_format="json", max_body_bytes=2_000_000) as server:
        yield server


def test_a_kept_connection_serves_both_tasks(server: RunningServer) -> None:
    with httpx2.Client(base_url=server.address) as client:
        image = client.post("/v1/image-classification/colours", content=picture("blue"), headers={"content-type": "image/png"})
        assert image.json()["predictions"][0]["label"] == "blue"
        assert client.post(WORDS, json={"text": "good"}).json()["results"][0]["label"] == "positive"
        assert image.headers["content-type"] == "application/json"
        assert "server" not in image.headers


def test_many_connections_at_once_are_all_answered(server: RunningServer) -> None:
    def label(colour: str) -> str:
        response = client.post("/v1/image-classification/colours", content=picture(colour), headers={"content-type": "image/png"})
        return str(response.json()["predictions"][0]["label"])

    colours = ["red", "green", "blue"] * 20
    with httpx2.Client(base_url=server.address, timeout=60) as client, ThreadPoolExecutor(12) as clients:
        assert list(clients.map(label, colours)) == colours


def test_a_50_mb_body_is_refused_over_a_socket_with_and_without_a_length(server: RunningServer) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(50):
            yield b"\xff" * 1_000_000

    def answered(send: httpx2.Request) -> httpx2.Response | None:
        try:
            with httpx2.Client(timeout=30) as client:
                return client.send(send)
        except (httpx2.WriteError, httpx2.ReadError):  # the server may hang up on a client that goes on sending
            return None

    url, headers = f"{server.address}/v1/image-classification/colours", {"content-type": "image/jpeg"}
    requests = [httpx2.Request("POST", url, headers=headers, content=body) for body in (b"\xff" * 50_000_000, chunks())]
    for response in map(answered, requests):
        assert response is None or response.status_code == 413
    just_above = httpx2.post(url, headers=headers, content=b"\xff" * 6_000_000)  # read to its end, so the answer is always heard
    assert (just_above.status_code, just_above.json()["error"]["type"]) == (413, "input_too_large")
    assert httpx2.get(f"{server.address}/health/live").status_code == 200


def test_the_work_of_a_client_that_hangs_up_is_dropped(server: RunningServer) -> None:
    body = json.dumps({"text": "wait " * 9_000}).encode()  # twenty seconds
    head = f"POST /v1/text-classification/slow HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n".encode()
    head += b"Content-Type: application/json\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(head + body)
        wait_for(server, 'axon_pending_requests{model="slow"', 1)
    wait_for(server, 'axon_inference_request_failure_total{model="slow",reason="cancelled"', 1)
    assert server.metric('axon_pending_requests{model="slow"') == 0


def test_a_body_that_never_ends_is_refused_in_time(toy_models: Path, tmp_path: Path) -> None:
    head = f"POST {WORDS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n".encode()
    with (
        running_server(toy_models, tmp_path / "log", request_timeout_ms=300) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=20) as client,
    ):
        client.sendall(head + b'{"text": ')
        answer = b"".join(iter(lambda: client.recv(4096), b""))  # to the end: the server hangs up on half a request
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"did not arrive within 0.3 s" in answer


def test_the_log_has_a_line_a_request_and_nothing_of_its_body(server: RunningServer) -> None:
    httpx2.post(f"{server.address}{WORDS}", json={"text": "SECRET words"}, headers={"x-request-id": "trace-42"})
    lines = [json.loads(line) for line in server.log("trace-42").splitlines()]
    (line,) = [line for line in lines if line.get("request_id") == "trace-42"]
    assert (line["method"], line["path"], line["status"], line["logger"]) == ("POST", WORDS, 200, "axon.access")
    assert line["duration_ms"] > 0
    assert "SECRET" not in server.log()
    assert not [line for line in lines if line["level"] in ("ERROR", "CRITICAL")]


def test_a_stop_loses_no_request_that_was_accepted(toy_models: Path, tmp_path: Path) -> None:
    with running_server(toy_models, tmp_path / "log", cores=1) as server, ThreadPoolExecutor(4) as clients:
        requests = [clients.submit(httpx2.post, f"{server.address}{WORDS}", json=SLOW, timeout=60) for _ in range(3)]
        wait_for(server, 'axon_pending_requests{model="words"', 3, at_least=True)
        server.process.send_signal(signal.SIGTERM)
        answers = [request.result() for request in requests]
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert [len(answer.json()["results"]) for answer in answers] == [64, 64, 64]
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log()


def test_control_c_stops_an_idle_server_quietly(toy_models: Path, tmp_path: Path) -> None:
    with running_server(toy_models, tmp_path / "log") as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(10) == 0
        assert "Traceback" not in server.log()


def test_a_port_that_is_taken_is_said_so(server: RunningServer, toy_models: Path) -> None:
    command = [sys.executable, "-m", "app", "serve", str(toy_models)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment(port=server.port))
    assert result.returncode == 3, result.stderr
    assert "address already in use" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_stop_does_not_outlast_its_grace(toy_models: Path, tmp_path: Path) -> None:
    with running_server(toy_models, tmp_path / "log", cores=1, drain_timeout_ms=500) as server, ThreadPoolExecutor(8) as clients:
        requests = [clients.submit(httpx2.post, f"{server.address}{WORDS}", json=SLOW, timeout=60) for _ in range(8)]
        wait_for(server, 'axon_pending_requests{model="words"', 8, at_least=True)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
        answers = [request.result() for request in requests]
        assert 503 in {answer.status_code for answer in answers} <= {200, 503}  # none is cut off
        assert {answer.json()["error"]["type"] for answer in answers if answer.status_code == 503} == {"model_not_ready"}
