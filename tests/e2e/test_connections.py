"""What one connection may do to the server, and the server to it: requests behind each other, rubbish behind requests, nobody who reads."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest

from bench.clients import post
from tests.e2e.server import RunningServer, running_server, wait_for
from tests.fuzz.answers import Answer, AnswerReader
from tests.slow_models import write_slow_model

URL = "/v1/text-classification/slow"
TIMEOUT_MS = 2500  # of the server that clients take too little from
CHUNKED = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" % URL.encode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("models")
    write_slow_model(root)
    with running_server(root, tmp_path_factory.mktemp("server") / "log", cores=1) as server:
        yield server


@pytest.fixture(scope="module")
def impatient_server(toy_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(toy_models, tmp_path_factory.mktemp("server") / "log", cores=1, request_timeout_ms=TIMEOUT_MS) as server:
        yield server


def asking(text: str) -> bytes:
    return post(URL, "application/json", json.dumps({"text": text}).encode())


def answers_to(server: RunningServer, *pieces: bytes) -> list[Answer]:
    """All that comes until the server hangs up, be it in the midst of a piece."""
    answers = AnswerReader()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        with suppress(ConnectionError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.05)
        with suppress(ConnectionError):
            while data := connection.recv(65_536):
                answers.feed(data)
    answers.end()
    return answers.answers


@pytest.mark.parametrize("others", [1, 3])
def test_who_hangs_up_is_heard_also_behind_requests_that_wait(server: RunningServer, others: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(asking("wait " * 9_000) + asking("good") * others)  # most of a minute
        wait_for(server, 'axon_pending_requests{model="slow"', 1)
    wait_for(server, 'axon_pending_requests{model="slow"', 0, timeout_s=10)
    assert "Traceback" not in server.log()
    assert "ERROR" not in server.log()


@pytest.mark.parametrize("rubbish", [b"\x16\x03\x01\x02", b"GET /health/live HTTP/1.1\r\nBad Name: x\r\n\r\n"], ids=["bytes", "head"])
def test_rubbish_behind_a_request_does_not_cost_its_answer(server: RunningServer, rubbish: bytes) -> None:
    (answer,) = answers_to(server, asking("wait " * 500), rubbish, b"more")
    assert answer.status == 200


@pytest.mark.parametrize(
    "request_bytes", [CHUNKED + b"5;\r\n{\r\n", CHUNKED + b"-1\r\n", CHUNKED.replace(b"chunked", b"xchunked"), CHUNKED + b"3\r\n{}\n}"]
)
def test_a_body_that_is_no_http_hears_so(server: RunningServer, request_bytes: bytes) -> None:
    (answer,) = answers_to(server, request_bytes)
    assert (answer.status, json.loads(answer.body)["error"]["type"]) == (400, "bad_request")
    assert answer.headers["connection"] == "close"


def test_many_requests_at_once_are_answered_in_their_order(server: RunningServer) -> None:
    asked = [asking("good " * number) for number in range(1, 41)]
    last = asking("good").replace(b"Host", b"Connection: close\r\nHost")
    answers = answers_to(server, b"".join(asked[:20]), b"".join([*asked[20:], last]))
    assert [answer.status for answer in answers] == [200] * 41


HTTP2 = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"  # as Java's client offers it
WEBSOCKET = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
HEALTH = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = HEALTH.replace(b"Host", b"Connection: close\r\nHost")
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def cut(data: bytes, how: str) -> list[bytes]:
    match how:
        case "behind heads":
            return [head + b"\r\n\r\n" for head in data.split(b"\r\n\r\n")[:-1]]
        case "anywhere":
            return [data[start : start + 97] for start in range(0, len(data), 97)]
        case _:
            return [data]


@pytest.mark.parametrize("offer", [b"", HTTP2, WEBSOCKET], ids=["none", "h2c", "websocket"])
@pytest.mark.parametrize("how", ["whole", "behind heads", "anywhere"])
def test_an_offer_of_another_protocol_is_ignored(server: RunningServer, offer: bytes, how: str) -> None:
    requests = (
        asking("good"),
        CHUNKED + b'7\r\n{"text"\r\n9\r\n: "good"}\r\n0\r\n\r\n',
        post(URL, "application/json", SMUGGLED),
        CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED),
        HEALTH,
        LAST,
    )
    sent = b"".join(request.replace(b"Host", offer + b"Host", 1) for request in requests)
    answers = answers_to(server, *cut(sent, how))
    assert [answer.status for answer in answers] == [200, 200, 400, 400, 200, 200]
    assert b"smuggled" not in b"".join(answer.body for answer in answers)
    assert "Unsupported upgrade" not in server.log()


def test_an_offer_makes_no_body_right_and_no_connection_stay(server: RunningServer) -> None:
    wrong = CHUNKED.replace(b"chunked", b"gzip").replace(b"Host", HTTP2 + b"Host") + SMUGGLED
    assert [answer.status for answer in answers_to(server, wrong)] == [400]
    closing = asking("good").replace(b"Host", b"Connection: close, upgrade\r\nUpgrade: h2c\r\nHost")
    head, _, body = closing.partition(b"\r\n\r\n")
    assert [answer.status for answer in answers_to(server, head + b"\r\n\r\n", body)] == [200]


def test_nothing_is_read_behind_a_request_for_a_tunnel(server: RunningServer) -> None:
    for target in (b"/smuggled", b"x:443"):
        (answer,) = answers_to(server, b"CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n" % target + SMUGGLED, SMUGGLED)
        assert (answer.status, json.loads(answer.body)["error"]["type"]) == (400, "bad_request")


PAGE = b"GET /static-offline-docs/redoc.standalone.js HTTP/1.1\r\nHost: x\r\n\r\n"  # a megabyte
PAGES = 14  # more than the two kernels put by


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux knows how long a client has taken nothing")
def test_who_takes_nothing_of_an_answer_is_hung_up_on(impatient_server: RunningServer) -> None:
    before = open_files(impatient_server)
    with socket.create_connection(("127.0.0.1", impatient_server.port), timeout=20) as connection:
        connection.sendall(PAGE * PAGES)
        give_up_at = time.monotonic() + 20
        while open_files(impatient_server) <= before:
            assert time.monotonic() < give_up_at, "the server never took the connection"
        while open_files(impatient_server) > before:
            assert time.monotonic() < give_up_at, "the server still holds the connection"
            time.sleep(0.1)
    assert "ERROR" not in impatient_server.log()


def test_who_takes_an_answer_slowly_gets_all_of_it(impatient_server: RunningServer) -> None:
    answers, started = AnswerReader(), time.monotonic()
    with socket.create_connection(("127.0.0.1", impatient_server.port), timeout=20) as connection:
        connection.sendall(PAGE * PAGES)
        while len(answers.answers) < PAGES:
            data = connection.recv(65_536)
            assert data, "the server hung up"
            answers.feed(data)
            if time.monotonic() - started < TIMEOUT_MS / 1000 * 1.5:
                time.sleep(0.1)
    assert len({len(answer.body) for answer in answers.answers}) == 1


def open_files(server: RunningServer) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def test_large_bodies_that_are_being_received_are_bounded_and_small_ones_pass(toy_models: Path, tmp_path: Path) -> None:
    url = "/v1/text-classification/words"
    large = b'{"text": "good"}' + b" " * 200_000
    half = [large[:150_000], large[150_000:]]
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (url.encode(), len(large))
    with running_server(toy_models, tmp_path / "log", cores=1, max_incoming_bytes=200_000) as server:

        def send(body: bytes) -> httpx2.Response:
            return httpx2.post(f"{server.address}{url}", content=body, headers={"content-type": "application/json"})

        assert send(large).status_code == 200
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
            slow.sendall(head + half[0])
            give_up_at = time.monotonic() + 10
            while (refused := send(large)).status_code == 200:
                assert time.monotonic() < give_up_at
            assert (refused.status_code, refused.json()["error"]["type"], refused.headers["retry-after"]) == (429, "queue_full", "1")
            assert send(large[:60_000]).status_code == 200
            slow.sendall(half[1])
            assert b" 200 " in slow.recv(65536)
        assert send(large).status_code == 200
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.sendall(head + half[0])
        give_up_at = time.monotonic() + 10
        while send(large).status_code != 200:
            assert time.monotonic() < give_up_at
