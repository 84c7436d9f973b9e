"""Every line of the log is one event, in the form that was asked for, whoever wrote it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from app.observability import logs
from app.observability.logs import TextFormatter
from tests.e2e.server import ROOT, running_server

SCRIPT = """
import asyncio, logging, sys, threading, warnings
from app.observability import configure_logging
from app.observability.logs import REQUEST_ID

configure_logging(sys.argv[1])
logging.getLogger("axon.models").info("words/1 is ready")
logging.getLogger("uvicorn.error").info("Uvicorn running on %s", "http://127.0.0.1:1")
logging.getLogger("some.library").info("chatter")
logging.getLogger("some.library").warning("two\\nlines")
warnings.warn("an old call")
REQUEST_ID.set("id-7")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("axon.errors").exception("it failed")
REQUEST_ID.set("")
thread = threading.Thread(target=lambda: [][0])
thread.start()
thread.join()

async def forgotten():
    async def fails():
        raise KeyError("nobody waits for this")
    task = asyncio.ensure_future(fails())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    del task

asyncio.run(forgotten())
raise RuntimeError("the end")
"""


def log_of(log_format: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, log_format], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in log_of("json")]


def of(lines: list[dict[str, Any]], logger: str) -> dict[str, Any]:
    (line,) = [line for line in lines if line["logger"] == logger]
    return line


def test_as_json_every_line_is_an_object_whoever_wrote_it(lines: list[dict[str, Any]]) -> None:
    assert [line["logger"] for line in lines] == [
        "axon.models",
        "uvicorn.error",
        "some.library",
        "py.warnings",
        "axon.errors",
        "axon",
        "asyncio",
        "axon",
    ]
    for line in lines:
        assert {"time", "level", "logger", "message"} <= set(line)
        assert datetime.fromisoformat(line["time"]).tzinfo is not None


def test_as_json_an_exception_is_a_field_of_its_line(lines: list[dict[str, Any]]) -> None:
    failed = of(lines, "axon.errors")
    assert failed["exception"].startswith("Traceback")
    assert failed["exception"].endswith("ZeroDivisionError: division by zero")
    assert failed["request_id"] == "id-7"
    thread, end = [line for line in lines if line["logger"] == "axon"]
    assert (thread["level"], end["level"]) == ("CRITICAL", "CRITICAL")
    assert "IndexError" in thread["exception"]
    assert end["exception"].endswith("RuntimeError: the end")
    assert "KeyError" in of(lines, "asyncio")["exception"]


def test_as_json_a_line_end_in_a_message_ends_no_line(lines: list[dict[str, Any]]) -> None:
    assert of(lines, "some.library")["message"] == "two\nlines"
    assert "request_id" not in of(lines, "some.library")


def test_as_text_a_line_says_when_how_bad_who_and_what() -> None:
    first = log_of("text")[0]
    time, level, logger, message = first.split(" ", 3)
    assert datetime.fromisoformat(time)
    assert (level, logger, message) == ("INFO", "axon.models:", "words/1 is ready")


def test_as_text_a_warning_is_one_line() -> None:
    warning = ("a.py:7: UserWarning: an old call\n  call()\n",)
    record = logging.LogRecord("py.warnings", logging.WARNING, "a.py", 7, "%s", warning, None)
    assert TextFormatter().format(record).endswith("WARNING py.warnings: a.py:7: UserWarning: an old call call()")


ODD_PICTURE = """
import sys
from PIL import Image
from app.contract.images import decode
from app.observability import configure_logging
from tests.model_repository import encoded

configure_logging(sys.argv[1])
picture = Image.new("RGB", (20, 20))
decode(encoded(picture, "JPEG", exif=b"Exif\\0\\0MM\\0*\\0\\0\\0\\x08\\xff\\xff" + b"\\xff" * 40))
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_pictures_odd_metadata_is_no_matter_of_the_log(log_format: str) -> None:
    command = [sys.executable, "-c", ODD_PICTURE, log_format]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_stalls_stops_nobody_and_hears_how_much_it_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_WAITING", 50)
    ours, theirs = os.pipe()
    with os.fdopen(ours) as reader, os.fdopen(theirs, "w") as stream:
        handler = logs.PatientHandler(stream)
        for number in range(1000):  # ten times what a pipe takes
            handler.handle(logging.makeLogRecord({"msg": f"{number} {'x' * 1000}"}))
        read: list[str] = []
        reading = threading.Thread(target=lambda: read.extend(reader))
        reading.start()
        handler.flush()
        handler.handle(logging.makeLogRecord({"msg": "the last"}))
        handler.flush()
        stream.close()
        reading.join(10)
    words = [line.split() for line in read]
    kept = [int(number) for number, what, *_ in words if what.startswith("x")]
    assert kept == sorted(kept)
    assert 50 <= len(kept) < 1000
    assert sum(int(number) for number, what, *_ in words if what == "lines") == 1000 - len(kept)  # told once for each gap
    assert words[-1] == ["the", "last"]


def test_a_reader_that_stalls_does_not_keep_the_server_from_ending() -> None:
    script = SCRIPT.partition("logging.getLogger")[0] + 'for _ in range(5000): logging.getLogger("axon").info("x" * 1000)'
    with subprocess.Popen([sys.executable, "-c", script, "json"], cwd=ROOT, stderr=subprocess.PIPE) as process:
        assert process.wait(30) == 0


FORGED = "/v1/models/x%0A2026-01-01T00:00:00%20INFO%20axon.access:%20forged"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_client_can_forge_a_line_or_fill_the_log(toy_models: Path, tmp_path: Path, log_format: str) -> None:
    with running_server(toy_models, tmp_path / "log", log_format=log_format, cores=1) as server:
        before = len(server.log().splitlines())
        httpx2.get(server.address + FORGED, headers={"x-request-id": "forged"})
        httpx2.get(f"{server.address}/{'a' * 20_000}?text=SECRET", headers={"user-agent": "SECRET", "x-request-id": "b" * 129})
        httpx2.get(f"{server.address}/caf%C3%A9/%ff/%00")
    log = server.log()
    lines = [line for line in log.splitlines()[before:] if "axon.access" in line and "/health/ready" not in line]
    assert len(lines) == 3
    assert max(map(len, lines)) < 1000
    assert "SECRET" not in log
    if log_format == "json":
        for line in lines:
            json.loads(line)


def test_the_access_log_has_these_fields_and_no_others(toy_models: Path, tmp_path: Path) -> None:
    with running_server(toy_models, tmp_path / "log", log_format="json", cores=1) as server:
        httpx2.post(f"{server.address}/v1/text-classification/words?q=SECRET", json={"text": "SECRET"}, headers={"x-request-id": "id-1"})
    (line,) = [line for line in map(json.loads, server.log().splitlines()) if line.get("request_id") == "id-1"]
    assert set(line) == {"time", "level", "logger", "message", "method", "path", "status", "duration_ms", "request_id"}
    assert line["path"] == "/v1/text-classification/words"
    assert "SECRET" not in server.log()
