"""Streams over raw sockets: the bytes, a client that leaves, a server that is told to stop."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.api.events import chunks_of, events_of
from tests.character_models import most_likely_text, write_lstm_model, write_summing_model
from tests.e2e.server import RunningServer, running_server, wait_for

LIMITS = {"max_generated_tokens": 10**7, "max_request_tokens": 10**8}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_summing_model(root)
    write_lstm_model(root, layers=2, hidden=128)
    return root


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(models, tmp_path_factory.mktemp("server") / "log", **LIMITS) as server:
        yield server


def post(path: str, fields: dict[str, object]) -> bytes:
    body = json.dumps(fields).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def test_the_bytes_of_a_stream(server: RunningServer) -> None:
    request = {"model": "sums", "prompt": "Happy", "max_tokens": 2000, "temperature": 0, "stream": True}
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(post("/v1/completions", request))
        answer = b""
        while not answer.endswith(b"\r\n0\r\n\r\n"):
            answer += client.recv(65536)
        client.sendall(post("/v1/completions", request | {"stream": False, "max_tokens": 1}))  # the connection is kept
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-type: text/event-stream; charset=utf-8" in head
    assert b"cache-control: no-store" in head
    assert b"x-request-id: " in head
    chunks = chunks_of(unchunked(body).decode())
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == most_likely_text("Happy", 2000)
    assert len(chunks) < 500  # several characters share a chunk


@pytest.mark.parametrize("keep", [b"", b"Connection: keep-alive\r\n"], ids=["", "keep-alive"])
@pytest.mark.parametrize("stream", [True, False])
def test_http_1_0_knows_no_chunks(server: RunningServer, stream: bool, keep: bytes) -> None:
    """The end of the body is that of the connection (RFC 9112, 6.1 and 6.3)."""
    request = post("/v1/completions", {"model": "sums", "prompt": "Happy", "max_tokens": 2000, "temperature": 0, "stream": stream})
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(request.replace(b"HTTP/1.1\r\n", b"HTTP/1.0\r\n" + keep))
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert (f"content-length: {len(body)}".encode() in head) is not stream
    chunks = chunks_of(body.decode()) if stream else [json.loads(body)]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == most_likely_text("Happy", 2000)
    assert "ERROR" not in server.log()


def unchunked(body: bytes) -> bytes:
    """HTTP's chunked transfer coding undone."""
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        whole, body = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return whole


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/text-generation/lstm"])
@pytest.mark.parametrize("stream", [True, False])
def test_a_closed_socket_frees_the_slot_at_once(server: RunningServer, path: str, stream: bool) -> None:
    request: dict[str, object] = {"prompt": "a", "max_tokens": 10**7, "stream": stream}
    if path == "/v1/completions":
        request |= {"model": "lstm", "n": 4}
    texts = int(str(request.get("n", 1)))
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:
        client.sendall(post(path, request))
        wait_for(server, 'axon_live_sequences{model="lstm"', texts)
    wait_for(server, 'axon_live_sequences{model="lstm"', 0, timeout_s=5)
    wait_for(server, 'axon_pending_requests{model="lstm"', 0, timeout_s=5)


def test_a_short_text_is_not_kept_waiting_by_long_ones(server: RunningServer) -> None:
    sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(8)]
    for client in sockets:
        client.sendall(post("/v1/completions", {"model": "lstm", "prompt": "a", "max_tokens": 10**7, "stream": True}))
    wait_for(server, 'axon_live_sequences{model="lstm"', 8)
    answer = httpx2.post(f"{server.address}/v1/completions", json={"model": "lstm", "prompt": "Happy", "max_tokens": 5}, timeout=20)
    assert answer.status_code == 200
    assert server.metric('axon_live_sequences{model="lstm"') == 8
    for client in sockets:
        client.close()
    wait_for(server, 'axon_live_sequences{model="lstm"', 0)


def test_a_stop_lets_streams_finish(models: Path, tmp_path: Path) -> None:
    with running_server(models, tmp_path / "log", **LIMITS) as server, ThreadPoolExecutor(4) as clients:
        request = {"model": "lstm", "prompt": "a", "max_tokens": 10_000, "stream": True}
        streams = [clients.submit(httpx2.post, f"{server.address}/v1/completions", json=request, timeout=60) for _ in range(4)]
        wait_for(server, 'axon_live_sequences{model="lstm"', 4)
        server.process.send_signal(signal.SIGTERM)
        for stream in streams:
            chunks = chunks_of(stream.result().text)
            assert sum(len(chunk["choices"][0]["text"]) for chunk in chunks) == 10_000
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log()


def test_a_stream_that_outlasts_the_grace_ends_with_an_error_event(models: Path, tmp_path: Path) -> None:
    with running_server(models, tmp_path / "log", drain_timeout_ms=500, **LIMITS) as server, ThreadPoolExecutor(2) as clients:
        fields = {"prompt": "a", "max_tokens": 10**7, "stream": True}
        openai = clients.submit(httpx2.post, f"{server.address}/v1/completions", json=fields | {"model": "lstm"}, timeout=60)
        own = clients.submit(httpx2.post, f"{server.address}/v1/text-generation/lstm", json=fields, timeout=60)
        wait_for(server, 'axon_live_sequences{model="lstm"', 2)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(15) == 0
        assert chunks_of(openai.result().text)[-1]["error"]["code"] == "model_not_ready"
        assert json.loads(events_of(own.result().text)[-1])["error"]["type"] == "model_not_ready"
        assert "Traceback" not in server.log()


def test_nothing_of_a_prompt_is_logged(server: RunningServer) -> None:
    httpx2.post(f"{server.address}/v1/completions", json={"model": "sums", "prompt": "SECRET", "user": "SECRET"})
    httpx2.post(f"{server.address}/v1/completions", json={"model": "sums", "prompt": "SECRET7"})
    assert "SECRET" not in server.log()
