"""SIGTERM: not ready at once, nothing that was accepted is lost, status 0; a second one ends at once."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import httpx2
import pytest

from tests.e2e.server import ROOT, RunningServer, environment, ready_address, running_server, wait_for
from tests.slow_models import write_slow_model

URL = "/v1/text-classification/slow"
CLIENTS = 12


@pytest.fixture(scope="module")
def slow_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_slow_model(root)
    return root


@contextmanager
def started(command: list[str], log_file: Path, **options: Any) -> Iterator[RunningServer]:
    """By a command of its own."""
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, env=environment(port=0, cores=1), **options)
    try:
        yield RunningServer(process, ready_address(process, log_file), log_file)
    finally:
        process.kill()
        process.wait()


def ask(server: RunningServer, text: str) -> httpx2.Response:
    return httpx2.post(f"{server.address}{URL}", json={"text": text}, timeout=60)


def statuses_of(server: RunningServer, stopped: Event) -> Counter[int]:
    """What a client hears that asks again and again over a kept connection, until nobody answers any more."""
    heard: Counter[int] = Counter()
    with httpx2.Client(base_url=server.address, timeout=60) as client:
        while True:
            try:
                heard[client.post(URL, json={"text": "wait wait"}).status_code] += 1
            except httpx2.TransportError:
                assert stopped.is_set()
                return heard


def logged_statuses(server: RunningServer) -> Counter[int]:
    lines = [json.loads(line) for line in server.log().splitlines()]
    return Counter(line["status"] for line in lines if line["logger"] == "axon.access" and line["path"] == URL)


def test_a_stop_under_load_loses_no_accepted_request(slow_models: Path, tmp_path: Path) -> None:
    stopped = Event()
    with (
        running_server(slow_models, tmp_path / "log", cores=1, log_format="json") as server,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        asking = [clients.submit(statuses_of, server, stopped) for _ in range(CLIENTS)]
        wait_for(server, 'axon_pending_requests{model="slow"', CLIENTS - 2, at_least=True)
        time.sleep(0.3)
        stopped.set()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        heard = sum((each.result() for each in asking), Counter())
    assert heard.keys() <= {200, 503}  # 503: it came after the signal
    assert heard[200] > CLIENTS
    assert heard == logged_statuses(server)  # whatever the server began, its client heard the answer of


def test_a_server_that_drains_says_so_and_takes_nothing_new(slow_models: Path, tmp_path: Path) -> None:
    with running_server(slow_models, tmp_path / "log", cores=1) as server, ThreadPoolExecutor(2) as clients:
        with httpx2.Client(base_url=server.address) as kept:
            assert kept.get("/health/ready").status_code == 200
            accepted = clients.submit(ask, server, "wait " * 1_200)  # some seconds
            wait_for(server, 'axon_pending_requests{model="slow"', 1)
            server.process.send_signal(signal.SIGTERM)
            server.log("shutting down")
            ready = kept.get("/health/ready")  # over a connection that was open before
            assert (ready.status_code, ready.headers["connection"]) == (503, "close")
            assert ready.json()["reason"] == "the server is shutting down"
        assert httpx2.get(f"{server.address}/v2/health/ready").status_code == 503  # and over a new one
        assert httpx2.get(f"{server.address}/health/live").status_code == 200
        refused = ask(server, "good")
        assert (refused.status_code, refused.json()["error"]["type"]) == (503, "model_not_ready")
        assert "send the request to another instance" in refused.json()["error"]["message"]
        assert httpx2.post(f"{server.address}/v2/models/slow/infer", json={"inputs": []}).status_code == 503
        assert accepted.result().status_code == 200
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.log()


def test_a_second_signal_ends_at_once(slow_models: Path, tmp_path: Path) -> None:
    with running_server(slow_models, tmp_path / "log", cores=1) as server, ThreadPoolExecutor(2) as clients:
        cut_off = clients.submit(ask, server, "wait " * 9_000)  # most of a minute
        wait_for(server, 'axon_pending_requests{model="slow"', 1)
        server.process.send_signal(signal.SIGTERM)
        server.log("shutting down")
        assert server.process.poll() is None
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == -signal.SIGTERM
        assert time.monotonic() - started < 5
        assert isinstance(cut_off.exception(), httpx2.TransportError)


def test_process_1_of_a_container_is_ended_by_the_second_signal_as_well(slow_models: Path, tmp_path: Path) -> None:
    """The kernel gives it no signal that it does not handle itself."""
    as_process_1 = "import os; os.getpid = lambda: 1; from app.__main__ import main; main()"
    command = [sys.executable, "-c", as_process_1, "serve", str(slow_models)]
    with started(command, tmp_path / "log") as server, ThreadPoolExecutor(1) as clients:
        cut_off = clients.submit(ask, server, "wait " * 9_000)  # most of a minute
        wait_for(server, 'axon_pending_requests{model="slow"', 1)
        server.process.send_signal(signal.SIGTERM)
        server.log("shutting down")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 128 + signal.SIGTERM
        assert isinstance(cut_off.exception(), httpx2.TransportError)


@pytest.mark.parametrize(("command", "status"), [("serve", 0), ("check", -signal.SIGTERM)])
def test_a_signal_that_comes_while_the_libraries_are_imported_is_heard(command: str, status: int) -> None:
    code = """
import os, signal, sys, types
from app.__main__ import main
commands = types.ModuleType("app.command_line")
def run():
    if sys.argv[1] == "serve":
        os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(9)
commands.run = run
sys.modules["app.command_line"] = commands
main()
"""
    assert subprocess.run([sys.executable, "-c", code, command], cwd=ROOT, timeout=30).returncode == status


def test_a_server_without_standard_streams_ends_as_others_do(slow_models: Path, tmp_path: Path) -> None:
    """Their numbers are given to nothing else, which would be closed or written to in their place."""
    command = ["sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-m", "app", "serve", str(slow_models)]
    with started(command, tmp_path / "log") as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_a_server_without_a_terminal_of_its_own_does_not_mind_that_one_is_closed(slow_models: Path, tmp_path: Path) -> None:
    """A daemon that was started from a terminal which is long gone: SIGHUP is somebody's wish."""
    ours, terminal = pty.openpty()
    command = [sys.executable, "-m", "app", "serve", str(slow_models)]
    with started(command, tmp_path / "log", stdin=terminal, start_new_session=True) as server:
        os.close(terminal)
        os.close(ours)
        server.process.send_signal(signal.SIGHUP)
        give_up_at = time.monotonic() + 10
        while "the folder was read again" not in server.log():
            assert time.monotonic() < give_up_at, server.log()
            time.sleep(0.05)
        assert server.process.poll() is None


def test_a_server_whose_terminal_is_closed_stops_as_it_is_told_to(slow_models: Path) -> None:
    ours, terminal = pty.openpty()
    take_terminal = (
        "import fcntl, os, signal, sys, termios; signal.signal(signal.SIGHUP, signal.SIG_DFL);"  # also where the tests run under nohup
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
    )
    command = [sys.executable, "-c", take_terminal, sys.executable, "-m", "app", "serve", str(slow_models)]
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    process = subprocess.Popen(command, cwd=ROOT, env=environment(port=0), start_new_session=True, **streams)  # type: ignore[call-overload]
    os.close(terminal)
    seen = b""
    while not (b"is ready" in seen and b"running on" in seen):
        seen += os.read(ours, 4096)
    process.send_signal(signal.SIGHUP)  # the terminal is there: the folder is read again
    while b"the folder was read again" not in seen:
        seen += os.read(ours, 4096)
    os.close(ours)
    assert process.wait(20) == 0


def test_an_idle_server_stops_at_once(slow_models: Path, tmp_path: Path) -> None:
    with running_server(slow_models, tmp_path / "log", cores=1) as server:
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert time.monotonic() - started < 3
