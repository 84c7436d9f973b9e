"""The servers under test, each a process of its own: `axon serve` as a user would start it, and the plain baseline."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

START_LIMIT_S = 60.0


@contextmanager
def running_server(models: Path, **settings: object) -> Iterator[int]:
    """The port of a server whose models are all warm. Default settings but for those given, log thrown away."""
    port = _free_port()
    environment = {"AXON_PORT": str(port), "AXON_HOST": "127.0.0.1", "AXON_MODELS": str(models)}
    environment |= {f"AXON_{name.upper()}": str(value) for name, value in settings.items()}
    with _running(["-m", "app", "serve"], port, environment):
        yield port


@contextmanager
def server_of_one_model(directory: Path) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server that has this model and no other, so that its memory is known to be for it."""
    with TemporaryDirectory() as models:
        shutil.copytree(directory, Path(models) / directory.parent.name / directory.name)
        port = _free_port()
        environment = {"AXON_PORT": str(port), "AXON_HOST": "127.0.0.1", "AXON_MODELS": models}
        with _running(["-m", "app", "serve"], port, environment) as process:
            yield port, process.pid


def peak_memory_mb(pid: int) -> float:
    """The most memory that a process has had at once, of Linux's own counting."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def plain_server(directory: Path) -> Iterator[int]:
    """The port of the baseline, with one model that writes."""
    port = _free_port()
    with _running(["-m", "bench.plain", str(directory), "--port", str(port)], port, {}):
        yield port


@contextmanager
def _running(arguments: list[str], port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, *arguments], env=os.environ | environment, stderr=subprocess.DEVNULL)
    try:
        _wait_until_ready(port, process)
        yield process
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    answer: object = None
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=2)
            return
        except urllib.error.HTTPError as error:  # 503: still loading, or a model was refused
            answer = json.loads(error.read())
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit(f"bench: the server did not become ready: {answer}")
