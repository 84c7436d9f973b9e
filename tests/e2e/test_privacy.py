"""The server speaks to whoever asks it, and to nobody else: its sockets and files are watched while it works."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from tests.character_models import write_summing_model
from tests.e2e.open_files import InternetSocket, Seen, watched
from tests.e2e.server import ROOT, environment, ready_address
from tests.model_repository import picture, write_colour_model, write_word_model

pytestmark = pytest.mark.skipif(not Path("/proc/self/net/tcp").exists(), reason="NOT TESTED: this needs Linux's /proc")

DIAL = """
import socket, time
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("127.0.0.1", 9))
dialled = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
dialled.connect(("127.0.0.1", 9))
with socket.create_server(("127.0.0.1", 0)) as server:
    print(server.getsockname()[1], flush=True)
    client = socket.create_connection(server.getsockname())
    time.sleep(60)
"""
SILENCING = {  # where one of these is set, ONNX Runtime takes the machine for a test's and sends nothing by itself
    *("CI", "APPVEYOR", "CIRCLECI", "CODEBUILD_BUILD_ID", "GITHUB_ACTIONS", "GITLAB_CI"),
    *("JENKINS_URL", "TEAMCITY_VERSION", "TF_BUILD", "TRAVIS"),
}
DROPPED = SILENCING | {"XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY"}
UNTAMED = """
import onnxruntime, sys, time
session = onnxruntime.InferenceSession(sys.argv[1])
time.sleep(60)
"""


@contextmanager
def started(command: list[str], folder: Path, **settings: object) -> Iterator[tuple[subprocess.Popen[bytes], Seen]]:
    """A process whose home is empty, watched from its first moment. It writes to `folder`/log."""
    home, log = folder / "home", folder / "log"
    home.mkdir()
    variables = {name: value for name, value in environment(**settings).items() if name not in DROPPED}
    with log.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file, env=variables | {"HOME": str(home)})
    try:
        with watched(process.pid) as seen:
            yield process, seen
    finally:
        process.terminate()
        process.wait(30)


def look_until(seen_all: Callable[[], bool]) -> None:
    """Or for half a minute: the test says then what was not seen."""
    give_up_at = time.monotonic() + 30
    while not seen_all() and time.monotonic() < give_up_at:
        time.sleep(0.01)


def test_the_watch_sees_what_a_process_opens(tmp_path: Path) -> None:
    kinds = {("tcp", True), ("tcp", False), ("udp", False)}
    with started([sys.executable, "-c", DIAL], tmp_path) as (_, seen):
        look_until(lambda: kinds <= {(socket.protocol, socket.listens) for socket in seen.sockets.copy()})
    port = int((tmp_path / "log").read_text(encoding="ascii"))
    assert InternetSocket("tcp", port, 0, listens=True) in seen.sockets
    assert {socket.remote_port for socket in seen.sockets if socket.protocol == "udp"} == {9}
    assert any(socket.protocol == "tcp" and socket.remote_port == port for socket in seen.sockets)


def test_the_watch_sees_the_telemetry_of_an_onnx_runtime_that_was_not_told_to_be_silent(tmp_path: Path, toy_models: Path) -> None:
    """The wheel keeps its events in a data base until it can send them: so it can be seen where there is no network, too."""
    graph = next(toy_models.glob("words/1/*.onnx"))
    with started([sys.executable, "-c", UNTAMED, str(graph)], tmp_path) as (_, seen):
        look_until(lambda: data_bases(seen) != [])
    assert data_bases(seen), "this ONNX Runtime shows no telemetry at all, so that the server is silent proves nothing"


def test_the_server_opens_no_connection_and_no_data_base_of_its_own(tmp_path: Path) -> None:
    models = tmp_path / "models"
    for write in (write_colour_model, write_word_model, write_summing_model):
        write(models)
    with started([sys.executable, "-m", "app", "serve", str(models)], tmp_path, port=0) as (process, seen):
        address = ready_address(process, tmp_path / "log")
        with httpx2.Client(base_url=address, timeout=30) as client:
            for _ in range(20):
                ask_everything(client)
        time.sleep(1)
    port = int(address.rpartition(":")[2])
    assert {socket for socket in seen.sockets if socket.listens} == {InternetSocket("tcp", port, 0, listens=True)}
    assert {socket for socket in seen.sockets if socket.local_port != port} == set()
    assert len(seen.sockets) > 1, "not even the connections of the clients were seen"
    assert seen.looks > 100
    assert data_bases(seen) == []
    assert list((tmp_path / "home").rglob("*")) == []


def data_bases(seen: Seen) -> list[str]:
    return sorted(file for file in seen.files.copy() if "onnxruntime.db" in file)


def ask_everything(client: httpx2.Client) -> None:
    image = client.post("/v1/image-classification/colours", content=picture(), headers={"content-type": "image/png"})
    text = client.post("/v1/text-classification/words", json={"text": "good", "explain": True})
    written = client.post("/v1/completions", json={"model": "sums", "prompt": "a", "max_tokens": 20})
    tensors = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}]}
    inferred = client.post("/v2/models/words/infer", json=tensors)
    pages = [client.get(path) for path in ("/", "/docs", "/openapi.json", "/metrics", "/v1/models", "/v2/models/stats")]
    assert {answer.status_code for answer in (image, text, written, inferred, *pages)} == {200}
