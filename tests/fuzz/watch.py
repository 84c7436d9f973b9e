"""A server process, watched while it is ill-treated: does it answer, does its memory stay flat, what does its log say?"""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.server import RunningServer

LIVE_S = 60.0  # /health/live must answer within; on a quiet machine it takes milliseconds, but others may work on this one, so:
LOOP_S = 2.0  # of processor time that the event loop's thread may spend until then; 4 MB of the worst JSON cost 0.4 s
SETTLE_S = 45.0  # what clients left behind must be gone after that
MAX_GROWTH_MB = 48.0  # see Watch.growth_mb
MAX_GROWTH = 0.10  # or this share, where it is more

_EXPECTED_WARNINGS = ("Invalid HTTP request received.",)


@dataclass(frozen=True)
class Sample:
    """One look at the process."""

    seconds: float  # since the beginning
    memory_mb: float
    files: int


@dataclass
class Watch:
    """Looks at one server. `problems` are what should not be; they are found once."""

    server: RunningServer
    started: float = field(default_factory=time.monotonic)
    samples: list[Sample] = field(default_factory=list)
    slowest_live_s: float = 0.0
    most_loop_s: float = 0.0
    _log_read: int = 0

    @property
    def process_id(self) -> int:
        return self.server.process.pid

    def sample(self) -> Sample:
        pages = int(Path(f"/proc/{self.process_id}/statm").read_text(encoding="ascii").split()[1])
        files = len(list(Path(f"/proc/{self.process_id}/fd").iterdir()))
        self.samples.append(Sample(time.monotonic() - self.started, pages * 4096 / 1e6, files))
        return self.samples[-1]

    async def look(self) -> list[str]:
        """What is wrong now."""
        if (status := self.server.process.poll()) is not None:
            return [f"the server's process ended with status {status}"]
        self.sample()
        return [*await self._health(), *self.new_log_problems()]

    async def _health(self) -> list[str]:
        before = loop_s(self.process_id)
        problem, seconds = await asyncio.to_thread(_get, f"{self.server.address}/health/live", LIVE_S)
        spent_s = loop_s(self.process_id) - before
        self.slowest_live_s, self.most_loop_s = max(self.slowest_live_s, seconds), max(self.most_loop_s, spent_s)
        if problem is None and spent_s > LOOP_S:
            problem = f"the event loop worked {spent_s:.1f} s before it answered"
        return [f"/health/live: {problem}"] if problem else []

    def new_log_problems(self) -> list[str]:
        """Lines of the log, since the last look, that no client should be able to bring about."""
        with self.server.log_file.open("rb") as log:
            log.seek(self._log_read)
            lines = log.read().split(b"\n")
        self._log_read += sum(len(line) + 1 for line in lines[:-1])
        return [problem for line in lines[:-1] if line.strip() and (problem := _problem_of_line(line))]

    async def settle(self) -> list[str]:
        """When all clients are gone: no work, no file and no readiness is lost."""
        give_up_at = time.monotonic() + SETTLE_S
        while problems := [*await asyncio.to_thread(self._left_behind)]:
            if time.monotonic() > give_up_at or self.server.process.poll() is not None:
                return problems
            await asyncio.sleep(0.5)
        ready, _ = await asyncio.to_thread(_get, f"{self.server.address}/health/ready", LIVE_S)
        return [f"/health/ready: {ready}"] if ready else []

    def _left_behind(self) -> list[str]:
        try:
            with urllib.request.urlopen(f"{self.server.address}/metrics", timeout=LIVE_S) as page:
                lines = page.read().decode().splitlines()
        except OSError as error:
            return [f"/metrics: {error}"]
        gauges = ("axon_pending_requests{", "axon_live_sequences{", "axon_waiting_sequences{")
        left = [f"left behind: {line}" for line in lines if line.startswith(gauges) and float(line.rpartition(" ")[2]) != 0]
        files = self.sample().files - self.samples[0].files
        return left + ([f"{files} files more are open than at the beginning"] if files > 5 else [])

    def growth_mb(self) -> float:
        """From the second quarter of the samples to the last: the first is for warming up. Of each the lower quartile, for what is
        there for a while, a large picture or a second version of a model, is no growth.
        """
        size = max(1, len(self.samples) // 4)
        return _low(self.samples[-size:]) - _low(self.samples[size : 2 * size] or self.samples)

    def memory_problems(self) -> list[str]:
        growth, allowed = self.growth_mb(), max(MAX_GROWTH_MB, MAX_GROWTH * self.samples[-1].memory_mb)
        return [f"the memory grew by {growth:.0f} MB, allowed are {allowed:.0f}"] if growth > allowed else []

    def health(self) -> str:
        """For people."""
        return f"/health/live took {self.slowest_live_s:.2f} s at most, for {self.most_loop_s:.2f} s of the event loop's processor time"

    def memory(self) -> str:
        """For people."""
        first, last, peak = self.samples[0].memory_mb, self.samples[-1].memory_mb, max(s.memory_mb for s in self.samples)
        half = self.samples[len(self.samples) // 2 :]
        slope = slope_mb_per_min(half)
        return (
            f"memory {first:.0f} MB at the start, {last:.0f} at the end, {peak:.0f} at most; {slope:+.2f} MB/min in the second half; "
            f"{self.growth_mb():+.0f} MB from the second to the last quarter"
        )


def _low(samples: Sequence[Sample]) -> float:
    return sorted(sample.memory_mb for sample in samples)[len(samples) // 4]


def slope_mb_per_min(samples: list[Sample]) -> float:
    """Of the straight line through them."""
    if len(samples) < 3:
        return 0.0
    mean_s, mean_mb = (sum(getattr(s, name) for s in samples) / len(samples) for name in ("seconds", "memory_mb"))
    spread = sum((s.seconds - mean_s) ** 2 for s in samples)
    return 60 * sum((s.seconds - mean_s) * (s.memory_mb - mean_mb) for s in samples) / spread if spread else 0.0


def loop_s(process_id: int) -> float:
    """Processor time of a process's main thread."""
    stat = Path(f"/proc/{process_id}/task/{process_id}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def _get(url: str, timeout_s: float) -> tuple[str | None, float]:
    """What is wrong with the answer, if anything, and the seconds that it took."""
    problem, begin = None, time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        problem = f"status {error.code}: {error.read()[:300]!r}"
    except OSError as error:
        problem = str(error)
    return problem, time.monotonic() - begin


def _problem_of_line(line: bytes) -> str | None:
    try:
        fields = json.loads(line)
        level, message = fields["level"], fields["message"]
    except (ValueError, KeyError, TypeError):
        return f"a line of the log that is none of ours: {line[:400]!r}"
    if level in ("DEBUG", "INFO") or (level == "WARNING" and message.startswith(_EXPECTED_WARNINGS)):
        return None
    last = fields.get("exception", "").strip().rpartition("\n")[2]
    return f"log, {level} of {fields.get('logger')}, request {fields.get('request_id', '-')}: {message[:300]} {last[:300]}".strip()
