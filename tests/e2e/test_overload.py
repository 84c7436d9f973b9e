"""More requests than a real server can answer: who is accepted hears soon, who is refused at once, who leaves leaves no work."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

import httpx2
import pytest

from bench.clients import post
from bench.open_loop import Answered, open_loop, percentile
from tests.e2e.server import RunningServer, running_server, wait_for
from tests.slow_models import write_slow_model

URL = "/v1/text-classification/slow"
QUEUE = 10


@pytest.fixture(scope="module")
def slow_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_slow_model(root)
    return root


@pytest.fixture(scope="module")
def server(slow_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(slow_models, tmp_path_factory.mktemp("server") / "log", cores=1) as server:
        yield server


def asking(text: str) -> bytes:
    return post(URL, "application/json", json.dumps({"text": text}).encode())


def runs_of(server: RunningServer) -> float:
    return server.metric('axon_inference_exec_count_total{model="slow"')


def measured(check: Callable[[RunningServer], None], server: RunningServer) -> None:
    """A machine that stalls, or changes its pace, spoils a measurement: the fifth must hold at the latest."""
    for _ in range(4):
        with suppress(AssertionError):
            check(server)
            return
    check(server)


def at_twice_its_capacity(server: RunningServer, request: bytes, seconds: float) -> tuple[list[Answered], float]:
    """The answers, and what one request alone takes."""
    before_s = time_alone(server, request)
    answers = asyncio.run(open_loop(server.port, request, per_s=2 / before_s, seconds=seconds))
    return answers, min(before_s, time_alone(server, request))


def time_alone(server: RunningServer, request: bytes) -> float:
    return median(answer.latency_s for answer in asyncio.run(open_loop(server.port, request, per_s=20, seconds=0.6)))


def test_at_twice_its_capacity_accepted_requests_are_answered_soon_and_the_others_refused_at_once(
    slow_models: Path, tmp_path: Path
) -> None:
    """On a quiet machine (two cores of an AMD EPYC): p99 of accepted 79 to 89 ms, of refused 3 to 6 ms. What the test asks is far
    from that, for a busy machine, and still far below what an unbounded queue would give: half the time of the whole test.
    """
    with running_server(slow_models, tmp_path / "log", cores=1, max_queue_size=QUEUE) as server:
        measured(check_answers_under_overload, server)


def check_answers_under_overload(server: RunningServer) -> None:
    answers, service_s = at_twice_its_capacity(server, asking("wait wait"), seconds=2.5)
    assert {answer.status for answer in answers} == {200, 429}
    accepted, refused = ([answer.latency_s for answer in answers if answer.status == status] for status in (200, 429))
    assert percentile(accepted, 99) < 3 * (QUEUE + 2) * service_s + 0.2
    assert median(refused) < 0.02
    assert percentile(refused, 99) < 0.25
    assert len(accepted) > len(answers) / 4  # about half, if it works at all while it refuses
    assert {answer.header("retry-after") for answer in answers if answer.status == 429} == {"1"}  # ten rows of 10 ms each


def test_the_time_to_come_back_is_the_time_that_the_queue_takes(slow_models: Path, tmp_path: Path) -> None:
    with running_server(slow_models, tmp_path / "log", cores=1, max_queue_size=QUEUE, request_timeout_ms=60_000) as server:
        measured(check_time_to_come_back, server)


def check_time_to_come_back(server: RunningServer) -> None:
    request = asking("wait " * 100)  # half a second
    asyncio.run(open_loop(server.port, request, per_s=8, seconds=1))  # so that the pace is known
    answers = asyncio.run(open_loop(server.port, request, per_s=1000, seconds=(QUEUE + 15) / 1000))
    longest_s = max(answer.latency_s for answer in answers)
    come_back_s = {int(answer.header("retry-after") or 0) for answer in answers if answer.status == 429}
    assert come_back_s
    assert longest_s / 2 < min(come_back_s) <= max(come_back_s) < 2 * longest_s + 1


def test_200_clients_that_hang_up_leave_no_work_behind(server: RunningServer) -> None:
    request, before = asking("wait " * 400), runs_of(server)  # a second or two each
    with ExitStack() as clients:
        for _ in range(200):
            clients.enter_context(socket.create_connection(("127.0.0.1", server.port))).sendall(request)
        wait_for(server, 'axon_pending_requests{model="slow"', 190, at_least=True)
    wait_for(server, 'axon_pending_requests{model="slow"', 0, timeout_s=20)
    started = runs_of(server)
    assert started - before < 10
    assert httpx2.post(f"{server.address}{URL}", json={"text": "good"}, timeout=30).status_code == 200
    assert runs_of(server) == started + 1  # what nobody waits for does not begin
    cancelled = server.metric('axon_inference_request_failure_total{model="slow",reason="cancelled"')
    assert cancelled >= 190 - (started - before)


def test_a_run_that_its_only_client_left_is_stopped_in_its_midst(server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(asking("wait " * 9_000))  # most of a minute
        wait_for(server, 'axon_pending_requests{model="slow"', 1)
        time.sleep(0.2)
    started = time.monotonic()
    assert httpx2.post(f"{server.address}{URL}", json={"text": "good"}, timeout=30).status_code == 200
    assert time.monotonic() - started < 5
    assert "terminate flag" not in server.log()


def test_a_run_that_is_out_of_time_is_stopped_in_its_midst(server: RunningServer) -> None:
    late = httpx2.post(f"{server.address}{URL}", json={"text": "wait " * 9_000}, headers={"x-request-timeout-ms": "300"}, timeout=30)
    assert (late.status_code, late.json()["error"]["type"]) == (504, "deadline_exceeded")
    started = time.monotonic()
    assert httpx2.post(f"{server.address}{URL}", json={"text": "good"}, timeout=30).status_code == 200
    assert time.monotonic() - started < 5
