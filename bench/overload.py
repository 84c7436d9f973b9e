"""What a server does when more comes than it can answer: requests in an open loop, at multiples of what it can take."""

from __future__ import annotations

import asyncio
import gc
import os
from dataclasses import dataclass
from pathlib import Path

from bench.clients import closed_loop
from bench.open_loop import Answered, open_loop, percentile
from bench.server import running_server

QUEUE_ROWS = 64  # a wait that people bear; the default, 1,024 rows, is meant for programs
CLIENTS = 32  # for the capacity
MULTIPLES = (0.5, 1.0, 2.0, 4.0)
TARGET_REFUSAL_MS = 20.0


@dataclass(frozen=True)
class Row:
    """One load: how it was answered."""

    multiple: float
    per_s: float
    accepted: list[Answered]
    refused: list[Answered]
    seconds: float

    def __str__(self) -> str:
        accepted, refused = (f"{len(answers) / self.seconds:12.1f}{_latencies(answers)}" for answers in (self.accepted, self.refused))
        return f"{f'{self.multiple:g} of the capacity':22}{self.per_s:12.1f}{accepted}{refused}"


def measure(models: Path, request: bytes, seconds: float) -> tuple[float, list[Row]]:
    """(requests a second that the server can take, a row a load)"""
    rows = []
    gc.freeze()  # or the clients' own garbage collector would stop them for longer than a refusal takes
    with running_server(models, max_queue_size=QUEUE_ROWS) as port:
        closed = asyncio.run(closed_loop(port, request, CLIENTS, seconds, warm_up_s=0.5))
        capacity = len(closed.latencies_s) / seconds
        for multiple in MULTIPLES:
            answers = asyncio.run(open_loop(port, request, multiple * capacity, seconds))
            accepted, refused = ([answer for answer in answers if answer.status == status] for status in (200, 429))
            assert len(accepted) + len(refused) == len(answers), {answer.status for answer in answers}
            rows.append(Row(multiple, multiple * capacity, accepted, refused, seconds))
    return capacity, rows


def report(capacity: float, rows: list[Row]) -> None:
    print(f"capacity: {capacity:.1f} requests/s; the queue takes {QUEUE_ROWS} rows, so a wait of {QUEUE_ROWS / capacity * 1000:.0f} ms")
    print(f"load average {os.getloadavg()[0]:.1f}; the clients share the machine\n")
    print(f"{'':22}{'sent/s':>12}{'accepted/s':>12}{'p50 ms':>12}{'p99 ms':>12}{'refused/s':>12}{'p50 ms':>12}{'p99 ms':>12}")
    for row in rows:
        print(row)
    twice = next(row for row in rows if row.multiple == 2)
    refusal_ms = percentile([answer.latency_s for answer in twice.refused], 99) * 1000 if len(twice.refused) > 1 else float("nan")
    print(f"\nat twice the capacity 99 of 100 refusals come within {refusal_ms:.1f} ms (target {TARGET_REFUSAL_MS:g} or less)")


def _latencies(answers: list[Answered]) -> str:
    if len(answers) < 2:
        return f"{'':>12}{'':>12}"
    latencies_s = [answer.latency_s for answer in answers]
    return f"{percentile(latencies_s, 50) * 1000:12.1f}{percentile(latencies_s, 99) * 1000:12.1f}"
