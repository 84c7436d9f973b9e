"""A real server: `axon serve` in its own process, on a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

ROOT = Path(__file__).parents[2]
START_S, STOP_S, LINE_S = 60, 40, 10
_ADDRESS = re.compile(r"running on (http://127\.0\.0\.1:\d+)")


def environment(**settings: object) -> dict[str, str]:
    """This process's variables, with these settings of the server and no others."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AXON_")}
    return others | {f"AXON_{name.upper()}": str(value) for name, value in settings.items()}


@dataclass(frozen=True)
class RunningServer:
    process: subprocess.Popen[bytes]
    address: str
    log_file: Path

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    def log(self, until: str = "", times: int = 1) -> str:
        """What was written. A line comes a moment after its event, so the log is waited for: until it has this text so many times."""
        give_up_at = time.monotonic() + LINE_S
        while (text := self.log_file.read_text(encoding="utf-8")).count(until) < times and time.monotonic() < give_up_at:
            time.sleep(0.01)
        return text

    def metric(self, sample: str) -> float:
        for line in httpx2.get(f"{self.address}/metrics", timeout=30, verify=False).text.splitlines():
            if line.startswith(sample):
                return float(line.rpartition(" ")[2])
        return 0.0


@contextmanager
def running_server(models: Path, log_file: Path, **settings: object) -> Iterator[RunningServer]:
    """Ready when handed out; told to stop, and waited for, at the end."""
    command = [sys.executable, "-W", "error", "-m", "app", "serve", str(models)]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, env=environment(**({"port": 0} | settings)))
    try:
        yield RunningServer(process, ready_address(process, log_file), log_file)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        finally:
            process.kill()


def ready_address(process: subprocess.Popen[bytes], log_file: Path) -> str:
    give_up_at = time.monotonic() + START_S
    while time.monotonic() < give_up_at and process.poll() is None:
        if found := _ADDRESS.search(log_file.read_text(encoding="utf-8")):
            with suppress(httpx2.TransportError):
                if httpx2.get(f"{found[1]}/health/ready", verify=False).status_code == 200:  # to read the certificates takes 50 ms
                    return found[1]
        time.sleep(0.05)
    raise AssertionError(f"the server did not become ready:\n{log_file.read_text(encoding='utf-8')}")


def wait_for(server: RunningServer, sample: str, value: float, timeout_s: float = 30, at_least: bool = False) -> None:
    """Until a sample of /metrics has this value."""
    give_up_at = time.monotonic() + timeout_s
    while (found := server.metric(sample)) != value and not (at_least and found > value):
        assert time.monotonic() < give_up_at, f"{sample} is {found}, not {value}"
        time.sleep(0.01)
