"""A run that does not come back: its callers hear so, an operator sees it, and the others go on."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.e2e.server import RunningServer, running_server, wait_for
from tests.slow_models import write_slow_model

URL = "/v1/text-classification/slow"
STUCK_MS = 2000
HANG = "hang hang hang"  # some seconds, in one node


@pytest.fixture(scope="module")
def slow_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_slow_model(root)
    return root


@pytest.fixture
def server(slow_models: Path, tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(slow_models, tmp_path / "log", cores=1, stuck_run_timeout_ms=STUCK_MS) as server:
        yield server


def ask(server: RunningServer, text: str) -> httpx2.Response:
    return httpx2.post(f"{server.address}{URL}", json={"text": text}, timeout=60)


def readiness(server: RunningServer) -> httpx2.Response:
    return httpx2.get(f"{server.address}/health/ready")


def test_a_stuck_run_is_given_up_and_the_others_go_on(server: RunningServer) -> None:
    stuck = ask(server, HANG)
    assert (stuck.status_code, stuck.json()["error"]["type"]) == (503, "run_stuck")
    assert stuck.json()["error"]["message"] == "a run took longer than 2 s and was given up"
    ready = readiness(server)
    assert (ready.status_code, ready.json()["models"][0]["state"]) == (503, "stuck")
    assert "a run took longer than 2 s" in ready.json()["models"][0]["reason"]
    assert httpx2.get(f"{server.address}/v2/health/ready").json() == {
        "error": "the server is not ready: slow is stuck; see /health/ready",
    }
    assert httpx2.get(f"{server.address}/health/live").status_code == 200
    assert ask(server, "good").status_code == 200  # there is one core, and its thread still hangs
    assert "came back after" not in server.log()
    assert readiness(server).status_code == 200  # a run came back
    assert server.metric('axon_stuck_runs_total{model="slow"') == 1
    assert server.metric('axon_inference_request_failure_total{model="slow",reason="backend"') == 1
    assert "it is given up, and its thread is replaced" in server.log("thread is replaced")
    assert "Traceback" not in server.log()


def test_a_server_without_traffic_finds_out_by_itself_that_it_is_well_again(server: RunningServer) -> None:
    assert ask(server, HANG).status_code == 503
    assert readiness(server).status_code == 503
    give_up_at = time.monotonic() + 20
    while readiness(server).status_code != 200:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    assert "slow: runs come back again" in server.log("come back again")


def test_a_run_that_heeds_the_stop_costs_no_thread(server: RunningServer) -> None:
    assert ask(server, "wait " * 9_000).status_code == 503
    give_up_at = time.monotonic() + 20
    while "a run that was given up came back after" not in server.log():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    assert ask(server, "good").status_code == 200


def test_a_stop_does_not_wait_for_a_run_that_never_comes_back(slow_models: Path, tmp_path: Path) -> None:
    with (
        running_server(slow_models, tmp_path / "log", cores=1, drain_timeout_ms=1_000) as server,  # by then the run is in that node
        ThreadPoolExecutor(2) as clients,
    ):
        hanging = clients.submit(ask, server, "hang " * 4)  # eight seconds and more, in one node
        wait_for(server, 'axon_pending_requests{model="slow"', 1)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert time.monotonic() - started < 6
        assert (hanging.result().status_code, hanging.result().json()["error"]["type"]) == (503, "model_not_ready")
        assert "the process ends without it" in server.log()


def test_a_stop_does_not_give_its_grace_to_a_run_that_nobody_waits_for(slow_models: Path, tmp_path: Path) -> None:
    with running_server(slow_models, tmp_path / "log", cores=1, drain_timeout_ms=20_000) as server:
        headers = {"x-request-timeout-ms": "300"}
        asked = httpx2.post(f"{server.address}{URL}", json={"text": "hang " * 5}, headers=headers, timeout=60)  # ten seconds and more
        assert asked.status_code == 504
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert time.monotonic() - begun < 6


def test_a_stop_does_not_wait_for_a_file_system_that_hangs(slow_models: Path, tmp_path: Path) -> None:
    """Or for a pipe that nobody writes to."""
    models = tmp_path / "models"
    shutil.copytree(slow_models, models)
    with running_server(models, tmp_path / "log", cores=1) as server:
        (models / "slow" / "2").mkdir()
        os.mkfifo(models / "slow" / "2" / "manifest.json")
        server.process.send_signal(signal.SIGHUP)
        give_up_at = time.monotonic() + 20
        while "loading" not in readiness(server).text:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        assert ask(server, "good").status_code == 200
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert time.monotonic() - begun < 6


def test_a_stop_does_not_wait_for_a_model_that_hangs_while_it_loads(slow_models: Path, tmp_path: Path) -> None:
    """Nobody has asked for anything: the golden request of a version that came later hangs."""
    models = tmp_path / "models"
    shutil.copytree(slow_models, models)
    with running_server(models, tmp_path / "log", cores=1, drain_timeout_ms=300) as server:
        hanging = write_slow_model(models, version="2")
        (hanging / "golden" / "request.txt").write_text("hang hang hang hang hang", encoding="utf-8")  # ten seconds and more
        server.process.send_signal(signal.SIGHUP)
        give_up_at = time.monotonic() + 20
        while "loading" not in readiness(server).text:
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        assert ask(server, "good").json()["model"]["version"] == "1"
        assert readiness(server).status_code == 200
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
        assert time.monotonic() - started < 6
