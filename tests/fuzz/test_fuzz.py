"""A short slice of what `make fuzz` does for minutes; and that it would find a fault: planted ones are reported."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from app.errors import BadRequest
from app.http_head import BoundedHttp
from app.main import create_app
from app.settings import Settings
from app.tasks.image_classification.pipeline import ImageClassificationPipeline
from tests.character_models import write_summing_model
from tests.drawing_models import write_tinting_model
from tests.e2e.server import RunningServer, running_server
from tests.fuzz.delivery import Case, converse
from tests.fuzz.fuzzer import Fuzzer, Report, make_case
from tests.fuzz.requests import post, requests_of
from tests.fuzz.schema import run_schemathesis
from tests.fuzz.watch import Sample, Watch
from tests.model_repository import picture, write_colour_model, write_word_model

SEED = 20_261_125
CASES, CLIENTS = 300, 8
IMAGES = "/v1/image-classification/colours"
PICTURE = post("image", IMAGES, "image/png", picture())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of each task."""
    root = tmp_path_factory.mktemp("models")
    for write in (write_colour_model, write_word_model, write_summing_model, write_tinting_model):
        write(root)
    return root


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    log_file = tmp_path_factory.mktemp("server") / "log"
    with running_server(models, log_file, cores=2, log_format="json", request_timeout_ms=1500) as server:
        yield server


def test_hostile_clients_find_nothing(server: RunningServer) -> None:
    fuzzer = Fuzzer(server.port, requests_of(server.address), SEED)
    report = asyncio.run(fuzzer.run(range(CASES), CLIENTS, watch=Watch(server)))
    assert report.cases == CASES
    assert {200, 400, 404, 415} <= report.statuses.keys()  # it reaches the models, and what refuses
    assert not report.findings, report


def test_the_server_keeps_what_its_document_promises(server: RunningServer, tmp_path: Path) -> None:
    watch = Watch(server)
    options = ("--max-examples", "5", "--phases", "fuzzing", "--generation-deterministic", "--no-shrink")
    well, said = run_schemathesis(server.address, tmp_path, SEED, *options, timeout_s=120, output=subprocess.PIPE)
    assert well, said
    assert not asyncio.run(watch.look())


@contextmanager
def serving(app: FastAPI) -> Iterator[int]:
    """The port of a server in a thread of this process, so that a fault can be planted in it."""
    config = uvicorn.Config(app, port=0, log_config=None, http=partial(BoundedHttp, timeout_s=30.0))  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        port = int(server.servers[0].sockets[0].getsockname()[1])
        while httpx2.get(f"http://127.0.0.1:{port}/health/ready").status_code != 200:
            time.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        thread.join()


def fuzz(port: int, folder: Path | None = None) -> Report:
    """Cases that come whole, so that the server waits for nothing."""
    cases = [number for number in range(60) if make_case([PICTURE], SEED, number).name.endswith("whole")]
    return asyncio.run(Fuzzer(port, [PICTURE], SEED, folder).run(cases, clients=2))


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (ZeroDivisionError("a bug"), "status 500"),
        (BadRequest("cannot open /tmp/x.png"), "a library's words"),
        (BadRequest("x" * 500), "a message of 500 characters"),
    ],
)
def test_a_planted_fault_is_found_and_can_be_repeated(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, found: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise error

    with serving(create_app(Settings(models=models, cores=1))) as port:
        assert not fuzz(port).findings
        monkeypatch.setattr(ImageClassificationPipeline, "preprocess", fail)
        report = fuzz(port, tmp_path)
        (finding,) = [finding for finding in report.findings if found in finding.problem][:1]
        assert finding.file is not None
        again = asyncio.run(converse(port, Case.read(finding.file), 20))
    assert again.answers[0].status == (500 if isinstance(error, ZeroDivisionError) else 400)


def test_what_the_document_does_not_promise_is_found(models: Path, tmp_path: Path) -> None:
    app = create_app(Settings(models=models, cores=1))

    @app.get("/v1/planted")
    def planted(number: int) -> dict[str, int]:
        return {"number": 1 // (number > 100)}

    with serving(app) as port:
        options = (
            "--include-path",
            "/v1/planted",
            "--max-examples",
            "5",
            "--phases",
            "fuzzing",
            "--generation-deterministic",
            "--no-shrink",
        )
        well, said = run_schemathesis(f"http://127.0.0.1:{port}", tmp_path, SEED, *options, timeout_s=60, output=subprocess.PIPE)
    assert not well
    assert "Server error" in said


@contextmanager
def answering(answer: bytes | None) -> Iterator[int]:
    """The port of something that takes every request, and says this; None: nothing, for ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        if answer is None:
            await stop.wait()
        else:
            writer.write(answer)
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(serve, sock=listening)
        async with server:
            await stop.wait()

    listening, stop, loop = socket.create_server(("127.0.0.1", 0)), asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=[run()])
    port = int(listening.getsockname()[1])
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def error(
    body: bytes, status: int = 400, headers: str = "X-Request-Id: 1\r\nX-Content-Type-Options: x\r\nContent-Security-Policy: x\r\n"
) -> bytes:
    return f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        (None, "neither an answer nor the end"),
        (b"SSH-2.0-x\r\n\r\n", "no status line"),
        (error(b'{"error": {"type": "a", "message": "b", "param": null}}', headers=""), "no header x-request-id"),
        (
            error(b'{"error": {"type": "a", "message": "b", "param": null}}', headers="X-Request-Id: 1\r\n"),
            "no header content-security-policy",
        ),
        (error(b'{"detail": "Not Found"}'), "strange shape"),
        (error(b'{"error": "a sentence"}'), "the shape of another path"),
        (error(b'{"error": {"type": "a", "message": "Traceback in x.py", "param": null}}'), "a library's words"),
        (error(b"Internal Server Error", status=502), "status 502"),
        (error(b"<html>"), "not the JSON it says it is"),
    ],
)
def test_a_wrong_answer_is_found(answer: bytes | None, found: str) -> None:
    with answering(answer) as port:
        case = Case("planted", ((PICTURE.encoded(), 0.0),), targets=(PICTURE.target,))
        fuzzer = Fuzzer(port, [PICTURE], SEED)
        fuzzer.judge(case, asyncio.run(converse(port, case, 0.5 if answer is None else 20)))
    assert any(found in finding.problem for finding in fuzzer.report.findings), fuzzer.report


def test_a_seed_and_a_number_are_one_case() -> None:
    assert [make_case([PICTURE], 1, number) for number in range(50)] == [make_case([PICTURE], 1, number) for number in range(50)]
    assert make_case([PICTURE], 1, 7) != make_case([PICTURE], 2, 7)


def test_memory_that_grows_is_found(server: RunningServer) -> None:
    grows, warms_up = Watch(server), Watch(server)
    grows.samples = [Sample(second, 200 + second, 9) for second in range(120)]
    warms_up.samples = [Sample(second, 200 + min(100, 10 * second), 9) for second in range(120)]
    assert grows.memory_problems()
    assert not warms_up.memory_problems()


@pytest.mark.parametrize(
    "line",
    [b'{"level": "ERROR", "message": "x"}', b'{"level": "WARNING", "message": "coroutine was never awaited"}', b"Segmentation fault"],
)
def test_a_line_of_the_log_that_should_not_be_is_found(server: RunningServer, tmp_path: Path, line: bytes) -> None:
    log_file = tmp_path / "log"
    log_file.write_bytes(b'{"level": "INFO", "message": "answered"}\n{"level": "WARNING", "message": "Invalid HTTP request received."}\n')
    watch = Watch(RunningServer(server.process, server.address, log_file))
    assert not watch.new_log_problems()
    with log_file.open("ab") as log:
        log.write(line + b"\n")
    assert len(watch.new_log_problems()) == 1
