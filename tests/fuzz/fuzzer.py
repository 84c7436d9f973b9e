"""Case after case at a server: seeds, broken by chance, delivered by chance. The same seed and number give the same case."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from tests.fuzz import mutation
from tests.fuzz.answers import problems
from tests.fuzz.delivery import Case, Heard, converse, deliver, in_pieces, pipelined
from tests.fuzz.requests import Request
from tests.fuzz.watch import Watch

PATIENCE_S = 60.0  # three times what a server with REQUEST_TIMEOUT_MS may take for a head, a body and the work, on a busy machine
REQUEST_TIMEOUT_MS = 4000  # of the server under test: those who stall are given up soon
LOOK_EVERY_S = 1.0
MAX_KEPT = 3  # cases that are written down for one kind of problem
MAX_KINDS = 25  # of problems, then it is enough


@dataclass(frozen=True)
class Finding:
    case: str
    problem: str
    file: Path | None = None

    def __str__(self) -> str:
        return f"{self.case}: {self.problem}" + (f"\n    again: python -m tests.fuzz --repeat {self.file}" if self.file else "")


@dataclass
class Report:
    """What was done, and what was found."""

    seed: int
    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    cut: int = 0  # connections that the server closed without an answer
    left: int = 0  # that the client left
    findings: list[Finding] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.statuses.items()))
        found = "".join(f"\n  {finding}" for finding in self.findings) or " none"
        more = sum(self.kinds.values()) - len(self.findings)
        return (
            f"seed {self.seed}: {self.cases:,} cases; answers by status: {counts}; {self.left:,} clients left, "
            f"{self.cut:,} connections closed without an answer\nfindings:{found}" + (f"\n  and {more} more like these" if more > 0 else "")
        )


def make_case(seeds: list[Request], seed: int, number: int) -> Case:
    """The case of this number."""
    dice = Random(f"{seed}/{number}")
    name = f"seed {seed}, case {number}"
    request = dice.choice(seeds).having((b"X-Request-Id", b"case-%d" % number))
    choice = dice.random()
    if choice < 0.04:
        return pipelined(dice, name, [request, *(_broken(dice, dice.choice(seeds)) for _ in range(dice.choice([1, 2, 5, 40])))])
    if choice < 0.10:
        data = mutation.flip(dice, request.encoded())
        return Case(f"{name}, raw", in_pieces(dice, data), targets=(None,), heads=(request.method == b"HEAD",))
    return deliver(dice, name, _broken(dice, request))


def _broken(dice: Random, request: Request) -> Request:
    """In one place, in several or in none."""
    breaks = [mutation.broken_body, mutation.broken_headers, mutation.broken_line]
    if request.kind == "none":
        breaks = breaks[1:]
    chosen = dice.choices(breaks, [6, 2, 1][-len(breaks) :], k=dice.choice([0, 1, 1, 1, 1, 2, 3]))
    for each in chosen:
        request = each(dice, request)
    return _bounded(request)


def _bounded(request: Request) -> Request:
    """A line end in a header or target would make two of it: then nobody knows what was asked."""
    return replace(request, target=re.sub(rb"[\r\n]", b"", request.target))


class Fuzzer:
    """Several clients at once at one server."""

    def __init__(self, port: int, seeds: list[Request], seed: int, findings: Path | None = None, patience_s: float = PATIENCE_S) -> None:
        """`findings` is the folder where cases are written down that found something."""
        self.report = Report(seed)
        self._port = port
        self._seeds = seeds
        self._folder = findings
        self._patience_s = patience_s
        self._numbers: Iterator[int] = iter(())
        self._stop_at = float("inf")

    async def run(self, cases: Iterable[int], clients: int = 8, seconds: float | None = None, watch: Watch | None = None) -> Report:
        """Until the cases are done, or the time is over."""
        self._numbers = iter(cases)
        self._stop_at = float("inf") if seconds is None else time.monotonic() + seconds
        looking = asyncio.ensure_future(self._look(watch)) if watch is not None else None
        await asyncio.gather(*(self._client() for _ in range(clients)))
        if looking is not None and watch is not None:
            looking.cancel()
            for problem in [*await watch.look(), *await watch.settle(), *watch.new_log_problems(), *watch.memory_problems()]:
                self._found("watch", problem)
        return self.report

    async def _client(self) -> None:
        for number in self._numbers:
            if time.monotonic() > self._stop_at or len(self.report.kinds) >= MAX_KINDS:
                return
            case = make_case(self._seeds, self.report.seed, number)
            try:
                heard = await converse(self._port, case, self._patience_s)
            except OSError as error:
                heard = Heard(problem=f"no connection: {type(error).__name__}")
            self.judge(case, heard)

    def judge(self, case: Case, heard: Heard) -> None:
        self.report.cases += 1
        self.report.left += case.ending in ("leave", "reset")
        self.report.cut += heard.closed and not heard.answers
        self.report.statuses.update(answer.status for answer in heard.answers)
        found = [heard.problem] if heard.problem else []
        for number, answer in enumerate(heard.answers):
            found += problems(answer, case.targets[number] if number < len(case.targets) else None)
        for problem in found:
            self._found(case.name, problem, case, heard)

    def _found(self, name: str, problem: str, case: Case | None = None, heard: Heard | None = None) -> None:
        kind = re.sub(r"\d+", "#", problem)[:70]
        self.report.kinds[kind] += 1
        if self.report.kinds[kind] > MAX_KEPT:
            return
        file = None
        if case is not None and heard is not None and self._folder is not None:
            file = self._folder / f"{re.sub(r'[^a-z0-9]+', '-', name)}.json"
            case.save(file, [problem], heard.answers)
        self.report.findings.append(Finding(name, problem, file))

    async def _look(self, watch: Watch) -> None:
        while True:
            for problem in await watch.look():
                self._found("watch", problem)
            if watch.server.process.poll() is not None:
                self._stop_at = 0
                return
            await asyncio.sleep(LOOK_EVERY_S)
