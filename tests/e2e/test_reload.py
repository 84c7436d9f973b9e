"""SIGHUP: a real server follows its folder and goes on answering."""

from __future__ import annotations

import gc
import os
import platform
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx2
import pytest

from app.server import settle
from tests.e2e.server import RunningServer, running_server, wait_for
from tests.model_repository import edit_manifest, write_word_model
from tests.slow_models import write_slow_model

WORDS = "/v1/text-classification/words"


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    write_word_model(root)
    write_slow_model(root)
    return root


@pytest.fixture
def server(models: Path, tmp_path: Path) -> Iterator[RunningServer]:
    with running_server(models, tmp_path / "log", cores=2) as server:
        yield server


def version(server: RunningServer) -> str:
    return str(httpx2.post(f"{server.address}{WORDS}", json={"text": "good"}).json()["model"]["version"])


def hang_up(server: RunningServer, seen: Callable[[], bool]) -> None:
    """The signal, and the wait for what it brings."""
    server.process.send_signal(signal.SIGHUP)
    give_up_at = time.monotonic() + 20
    while not seen():
        assert time.monotonic() < give_up_at, server.log()
        time.sleep(0.02)


def scans(server: RunningServer) -> int:
    return server.log().count("the folder was read again")


def test_a_new_version_takes_over_and_one_that_goes_leaves_no_gap(server: RunningServer, models: Path) -> None:
    write_word_model(models, version="2")
    assert version(server) == "1"
    hang_up(server, lambda: version(server) == "2")
    assert httpx2.post(f"{server.address}{WORDS}?version=1", json={"text": "good"}).json()["model"]["version"] == "1"
    (models / "words" / "2").rename(models / "words" / "gone")
    hang_up(server, lambda: version(server) == "1")
    assert httpx2.get(f"{server.address}/health/ready").status_code == 200
    assert "2 ready" in server.log("2 ready")


def test_files_that_are_refused_change_nothing_but_what_ready_says(server: RunningServer, models: Path) -> None:
    edit_manifest(models / "words" / "1", lambda fields: fields.update(temprature=2))
    edit_manifest(write_word_model(models, version="2"), lambda fields: fields.update(temprature=2))
    hang_up(server, lambda: scans(server) == 1)
    assert version(server) == "1"
    ready = httpx2.get(f"{server.address}/health/ready")
    assert ready.status_code == 200  # a broken folder takes no server out of service that answers
    found = {(each["name"], each["version"]): each for each in ready.json()["models"]}
    assert "the files were changed and are refused" in found["words", "1"]["reason"]
    assert found["words", "2"]["state"] == "refused"


def test_no_request_is_lost_while_models_come_and_go(server: RunningServer, models: Path) -> None:
    stop = Event()

    def ask() -> Counter[int]:
        heard: Counter[int] = Counter()
        with httpx2.Client(base_url=server.address, timeout=60) as client:
            while not stop.is_set():
                heard[client.post(WORDS, json={"text": "the good film"}).status_code] += 1
        return heard

    with ThreadPoolExecutor(4) as clients:
        asking = [clients.submit(ask) for _ in range(4)]
        for number in range(2, 6):
            write_word_model(models, version=str(number))
            edit_manifest(models / "words" / "1", lambda fields, number=number: fields.update(title=f"Title {number}"))
            if number > 2:
                (models / "words" / str(number - 1)).rename(models / "words" / f"gone{number}")
            hang_up(server, lambda number=number: scans(server) == number - 1)  # type: ignore[misc]
        stop.set()
        heard = sum((each.result() for each in asking), Counter())
    assert heard.keys() == {200}
    assert version(server) == "5"


def test_a_request_finishes_on_the_model_that_it_began_with(server: RunningServer, models: Path) -> None:
    with ThreadPoolExecutor(1) as clients:
        url = f"{server.address}/v1/text-classification/slow"
        slow = clients.submit(httpx2.post, url, json={"text": "wait " * 1_200}, timeout=60)  # some seconds
        wait_for(server, 'axon_pending_requests{model="slow"', 1)
        (models / "slow").rename(models / ".slow")
        hang_up(server, lambda: httpx2.post(url, json={"text": "good"}).status_code == 404)
        assert not slow.done()
        assert slow.result().status_code == 200


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_the_memory_of_what_went_goes_back_to_the_system() -> None:
    """glibc alone would keep what lies between things that stay."""
    blocks = [bytearray(100_000) for _ in range(600)]
    stays, full = blocks[::40], memory_mb()
    del blocks
    assert memory_mb() > full - 30
    try:
        settle()
    finally:
        gc.unfreeze()
    assert memory_mb() < full - 40
    assert len(stays) == 15


def memory_mb() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
