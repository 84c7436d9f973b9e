"""The line and the headers of a request are bounded in size and in time: they come before any key is asked for."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat, takewhile
from pathlib import Path
from select import select
from typing import Any

import pytest

from bench.clients import post
from tests.e2e.server import RunningServer, running_server
from tests.slow_models import write_slow_model

TIMEOUT_MS = 600
KEY = "key-of-a-client-0001"
HEALTH = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("models")
    write_slow_model(root)
    log_file = tmp_path_factory.mktemp("server") / "log"
    with running_server(root, log_file, request_timeout_ms=TIMEOUT_MS, api_keys=KEY, cores=1, log_format="json") as server:
        yield server


@pytest.fixture(scope="module")
def patient_server(toy_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """It has half a minute for a head, so that whoever stalls in the midst of one is not given up."""
    with running_server(toy_models, tmp_path_factory.mktemp("server") / "log", api_keys=KEY, cores=1, log_format="json") as server:
        yield server


def access_log(server: RunningServer, request_id: str) -> dict[str, Any]:
    """The one line of a request."""
    (line,) = [line for line in map(json.loads, server.log(request_id).splitlines()) if line.get("request_id") == request_id]
    return {name: line.get(name) for name in ("logger", "method", "path", "status")}


def bad_requests(server: RunningServer, times: int = 0) -> list[dict[str, Any]]:
    """Their lines, waited for until there are so many."""
    lines = map(json.loads, server.log('"status": 400', times).splitlines())
    return [line for line in lines if (line["logger"], line.get("status")) == ("axon.access", 400)]


@contextmanager
def connected(server: RunningServer) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        yield connection


def read_answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """(status, JSON) of one answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += (chunk := connection.recv(65536))
        assert chunk, "the server hung up without an answer"
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
    while len(body) < length:
        body += connection.recv(65536)
    return int(head.split()[1]), json.loads(body)


def hung_up(connection: socket.socket) -> bool:
    try:
        return connection.recv(65536) == b""
    except ConnectionResetError:
        return True


def memory_mb(server: RunningServer) -> float:
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def send_until_refused(connection: socket.socket, parts: Iterator[bytes]) -> int:
    """How many bytes went out."""
    sent = 0
    try:
        for part in parts:
            connection.sendall(part)
            sent += len(part)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return sent


def send_until_answered(connection: socket.socket, part: bytes, pause_s: float) -> None:
    """A part behind each pause, until the server answers or hangs up; a hundred at most."""
    send_until_refused(connection, takewhile(lambda _: not select([connection], [], [], pause_s)[0], repeat(part, 100)))


@pytest.mark.parametrize("start", [HEALTH, b"GET /"], ids=["headers", "line"])
def test_a_head_without_end_is_refused_before_it_fills_the_memory(server: RunningServer, start: bytes) -> None:
    part = b"".join(b"X-%d: %s\r\n" % (number, b"y" * 1000) for number in range(100)) if start == HEALTH else b"a" * 100_000
    before = memory_mb(server)
    with connected(server) as connection:
        connection.sendall(start)
        sent = send_until_refused(connection, (part for _ in range(1000)))
    assert sent < 50_000_000
    assert memory_mb(server) < before + 20


def test_a_head_that_is_too_long_hears_so(patient_server: RunningServer) -> None:
    with connected(patient_server) as connection:
        connection.sendall(HEALTH.replace(b"live", b"live?query") + b"X-Request-Id: long\r\n")
        send_until_answered(connection, (b"X: " + b"y" * 995 + b"\r\n") * 11, pause_s=0.005)  # the first packet is not counted
        status, body = read_answer(connection)
        assert (status, body["error"]["type"]) == (431, "bad_request")
        assert "65,536 bytes" in body["error"]["message"]
        assert hung_up(connection)
    assert access_log(patient_server, "long") == {"logger": "axon.access", "method": "GET", "path": "/health/live", "status": 431}


def test_a_large_head_is_read_also_in_pieces(patient_server: RunningServer) -> None:
    for pieces in (1, 50):
        with connected(patient_server) as connection:
            head = HEALTH + b"Cookie: " + b"c" * 50_000 + b"\r\n\r\n"
            size = len(head) // pieces + 1
            for start in range(0, len(head), size):
                connection.sendall(head[start : start + size])
                time.sleep(0.001)
            assert read_answer(connection) == (200, {"status": "live"})


def test_a_body_is_no_head(patient_server: RunningServer) -> None:
    with connected(patient_server) as connection:
        for _ in range(2):
            connection.sendall(b"POST /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000 + HEALTH)
            assert read_answer(connection)[0] == 401
            connection.sendall(b"\r\n")
            assert read_answer(connection) == (200, {"status": "live"})


@pytest.mark.parametrize("kept", [False, True])
def test_a_head_that_never_ends_is_given_up(server: RunningServer, kept: bool) -> None:
    started = time.monotonic()
    with connected(server) as connection:
        if kept:
            connection.sendall(HEALTH + b"\r\n")
            assert read_answer(connection)[0] == 200
        connection.sendall(HEALTH + b"X-Request-Id: late-%d\r\nX: y\r\n" % kept)  # a header is known when the next one begins
        send_until_answered(connection, b"X: y\r\n", pause_s=0.1)  # drop by drop is no better
        status, body = read_answer(connection)
        assert (status, body["error"]["type"]) == (408, "bad_request")
        assert 0.5 < time.monotonic() - started < 5
        assert hung_up(connection)
    assert access_log(server, f"late-{kept:d}") == {"logger": "axon.access", "method": "GET", "path": "/health/live", "status": 408}


def test_who_asks_nothing_is_hung_up_on(server: RunningServer) -> None:
    started = time.monotonic()
    with connected(server) as connection:
        assert hung_up(connection)
        assert 0.5 < time.monotonic() - started < 5


@pytest.mark.parametrize("drop", [b"x", b"xyz" * 1000], ids=["a byte", "more"])
def test_who_goes_on_with_a_body_that_nobody_waits_for_is_hung_up_on(server: RunningServer, drop: bytes) -> None:
    started = time.monotonic()
    with connected(server) as connection:
        connection.sendall(b"POST /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc")
        assert read_answer(connection)[0] == 401
        send_until_answered(connection, drop, pause_s=0.1)
        assert hung_up(connection)
        assert 0.5 < time.monotonic() - started < 5


def test_who_sends_blank_lines_behind_an_answer_is_hung_up_on(server: RunningServer) -> None:
    started = time.monotonic()
    with connected(server) as connection:
        connection.sendall(HEALTH + b"\r\n")
        assert read_answer(connection)[0] == 200
        send_until_answered(connection, b"\r\n", pause_s=0.1)
        assert hung_up(connection)
        assert 0.5 < time.monotonic() - started < 5


def test_a_request_that_takes_longer_than_its_head_may_is_not_disturbed(server: RunningServer) -> None:
    request = post("/v1/text-classification/slow", "application/json", json.dumps({"text": "wait " * 500}).encode())
    started = time.monotonic()
    with connected(server) as connection:
        connection.sendall(request.replace(b"Host", f"X-API-Key: {KEY}\r\nX-Request-Timeout-Ms: 30000\r\nHost".encode()))
        assert read_answer(connection)[0] == 200
    assert time.monotonic() - started > TIMEOUT_MS / 1000


@pytest.mark.parametrize(
    "rubbish", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\nbad header\r\n\r\n"]
)
def test_what_is_no_http_is_refused_in_our_words(server: RunningServer, rubbish: bytes) -> None:
    before = len(bad_requests(server))
    with connected(server) as connection:
        connection.sendall(rubbish)
        status, body = read_answer(connection)
        assert (status, body["error"]["type"]) == (400, "bad_request")
        assert hung_up(connection)
    *earlier, last = bad_requests(server, before + 1)
    assert (len(earlier), last["method"]) == (before, "GET" if last["path"] else "")


def test_such_a_refusal_has_the_shape_of_its_path_and_the_headers_of_every_answer(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(b"POST /v2/models/words/infer?x=1 HTTP/1.1\r\nX-Request-Id: mine-7\r\nHost: x\r\nbad header\r\n\r\n")
        received = b""
        while part := connection.recv(65536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert json.loads(body) == {"error": "this is not a valid HTTP/1.1 request"}
    assert {b"x-request-id: mine-7", b"x-content-type-options: nosniff", b"cache-control: no-store"} <= set(head.split(b"\r\n"))
