"""`python -m tests.fuzz.soak`: a mixed load for some minutes, clients that crash, models that come and go. See docs/operations.md."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.e2e.server import RunningServer, running_server
from tests.fuzz.answers import problems
from tests.fuzz.delivery import Case, Heard, converse
from tests.fuzz.requests import Request, post_json, requests_of
from tests.fuzz.watch import Watch

ADMIN_KEY = "a key for the soak and nothing else"
PATIENCE_S = 120.0
CLIENTS, CRASHING = 10, 4
CHANGE_EVERY_S = 5.0
REFUSED = {429}
LATE = {503, 504}  # honest, and no more than counted: the machine may be busy
WARM_UP_S = 20.0


@dataclass
class Tally:
    """What happened."""

    statuses: Counter[int] = field(default_factory=Counter)
    crashed: int = 0  # clients that left in the midst of a request or an answer
    changes: Counter[str] = field(default_factory=Counter)  # of the models
    while_away: int = 0  # requests for the model that was unloaded
    problems: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(self.statuses.items()))
        refused, late = (sum(self.statuses[status] for status in group) for group in (REFUSED, LATE))
        changes = ", ".join(f"{count} {name}" for name, count in sorted(self.changes.items()))
        return (
            f"answers by status: {statuses}; refused {refused:,}, failed {late:,}; {self.while_away:,} found the unloaded model away\n"
            f"{self.crashed:,} clients crashed; models: {changes}"
        )


class Soak:
    """A load on one server, whose model repository it may change. `away` is the model that is unloaded now and then."""

    def __init__(self, server: RunningServer, models: Path, requests: list[Request], seed: int) -> None:
        self.tally = Tally()
        self.watch = Watch(server)
        self._server = server
        self._models = models
        self._requests = requests
        self._dice = Random(seed)
        self._away = sorted(folder.name for folder in models.iterdir())[0]
        self._stop_at = 0.0

    async def run(self, seconds: float) -> Tally:
        self._stop_at = time.monotonic() + seconds
        work = [*(self._client() for _ in range(CLIENTS)), *(self._crashing() for _ in range(CRASHING)), self._changing(), self._looking()]
        await asyncio.gather(*work)
        self.tally.problems.update([*await self.watch.settle(), *self.watch.new_log_problems(), *self.watch.memory_problems()])
        return self.tally

    def _goes_on(self) -> bool:
        return time.monotonic() < self._stop_at and self._server.process.poll() is None

    async def _client(self) -> None:
        """Asks, hears, asks again; sometimes several requests behind each other."""
        while self._goes_on():
            asked = self._dice.choices(self._requests, k=self._dice.choice([1, 1, 1, 3]))
            case = Case("soak", ((b"".join(each.encoded() for each in asked), 0.0),), targets=tuple(each.target for each in asked))
            self._count(asked, await self._converse(case))

    def _count(self, asked: list[Request], heard: Heard) -> None:
        self.tally.statuses.update(answer.status for answer in heard.answers)
        if heard.problem or len(heard.answers) < len(asked):
            self.tally.problems[f"{heard.problem or 'the server hung up'}, at {asked[0].target!r}"] += 1
        for request, answer in zip(asked, heard.answers, strict=False):
            if answer.status in (404, 503) and self._is_of_away(request):
                self.tally.while_away += 1
            elif answer.status != 200 and answer.status not in REFUSED | LATE:
                self.tally.problems[f"status {answer.status} of {request.target!r}: {answer.body[:200]!r}"] += 1
            self.tally.problems.update(problems(answer, request.target))

    def _is_of_away(self, request: Request) -> bool:
        return self._away.encode() in request.target + request.body

    async def _crashing(self) -> None:
        """Leaves in the midst of a request, of the wait, or of a stream."""
        streams = [request for request in self._requests if b'"stream": true' in request.body or request.target.endswith(b"_stream")]
        while self._goes_on():
            request = self._dice.choice([*self._requests, *streams * 4])
            data = request.encoded()
            cut = self._dice.randrange(1, len(data)) if self._dice.random() < 0.3 else len(data)
            pieces = ((data[:cut], 0.0), (b"", self._dice.choice([0.0, 0.01, 0.1, 0.5])))
            await self._converse(Case("soak", pieces, self._dice.choice(["leave", "reset"]), (request.target,)))
            self.tally.crashed += 1

    async def _changing(self) -> None:
        for change in itertools.cycle([self._touch, self._unload_and_load, self._add_version, self._remove_version]):
            await asyncio.sleep(CHANGE_EVERY_S)
            if not self._goes_on():
                return
            await change()

    async def _touch(self) -> None:
        """A model's files are written again: the server replaces it."""
        folder = self._dice.choice([each for each in sorted(self._models.iterdir()) if (each / "1").is_dir()])
        os.utime(folder / "1" / "model.onnx")
        self._hang_up("replaced")

    async def _unload_and_load(self) -> None:
        for operation in ("unload", "load"):
            request = post_json(f"/v2/repository/models/{self._away}/{operation}", {}, Authorization=f"Bearer {ADMIN_KEY}")
            heard = await self._converse(Case("soak", ((request.encoded(), 0.0),), targets=(request.target,)))
            if [answer.status for answer in heard.answers] != [200]:
                self.tally.problems[f"{operation}: {heard.problem} {[(answer.status, answer.body) for answer in heard.answers]}"] += 1
            await asyncio.sleep(1)
        self.tally.changes["unloaded and loaded"] += 1

    async def _add_version(self) -> None:
        """Version 2 of a model, the same but for its number."""
        name = self._dice.choice(sorted(folder.name for folder in self._models.iterdir()))
        await asyncio.to_thread(add_version, self._models / name)
        self._hang_up("versions added")

    async def _remove_version(self) -> None:
        for folder in self._models.glob("*/2"):
            await asyncio.to_thread(shutil.rmtree, folder)
        self._hang_up("versions removed")

    def _hang_up(self, name: str) -> None:
        self._server.process.send_signal(signal.SIGHUP)
        self.tally.changes[name] += 1

    async def _looking(self) -> None:
        minute, started = 0, time.monotonic()
        while self._goes_on():
            await asyncio.sleep(1)
            self.tally.problems.update(await self.watch.look())
            if time.monotonic() - started > 60 * (minute + 1):
                minute += 1
                sample, answered = self.watch.samples[-1], self.tally.statuses.total()
                print(f"{minute} min: {answered:,} answers, {sample.memory_mb:.0f} MB, {sample.files} open files", flush=True)

    async def _converse(self, case: Case) -> Heard:
        try:
            return await converse(self._server.port, case, PATIENCE_S)
        except OSError as error:
            return Heard(problem=f"no connection: {type(error).__name__}")


def add_version(folder: Path) -> None:
    """Under a hidden name first, as docs/operations.md says."""
    hidden = folder / ".2"
    shutil.copytree(folder / "1", hidden)
    manifest = hidden / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace('"version": "1"', '"version": "2"', 1), encoding="utf-8")
    hidden.rename(folder / "2")


async def those_that_succeed(port: int, requests: list[Request]) -> list[Request]:
    """Of the valid requests those that an idle server answers with 200; it is warm then."""
    kept = []
    for request in requests:
        heard = await converse(port, Case("warm-up", ((request.encoded(), 0.0),), targets=(request.target,)), PATIENCE_S)
        if [answer.status for answer in heard.answers] == [200]:
            kept.append(request)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--models", type=Path, default=Path("models"), help="model repository; a copy of it is served")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        models, key = Path(folder) / "models", Path(folder) / "key"
        shutil.copytree(arguments.models, models)
        key.write_text(ADMIN_KEY, encoding="utf-8")
        with running_server(models, Path(folder) / "log", log_format="json", admin_key_file=key) as server:
            sys.exit(0 if soak(server, models, arguments) else 1)


def soak(server: RunningServer, models: Path, arguments: argparse.Namespace) -> bool:
    """Whether nothing happened that should not."""
    requests = asyncio.run(those_that_succeed(server.port, requests_of(server.address)))
    print(f"{len(requests)} requests, {CLIENTS} clients, {CRASHING} that crash, {arguments.minutes:g} min", flush=True)
    soaking = Soak(server, models, requests, arguments.seed)
    tally, watch = asyncio.run(soaking.run(arguments.minutes * 60)), soaking.watch
    print(tally, watch.memory(), watch.health(), sep="\n")
    for problem, count in tally.problems.most_common(20):
        print(f"{count} times: {problem}")
    print("nothing happened that should not" if not tally.problems else f"{tally.problems.total()} things happened that should not")
    return not tally.problems


if __name__ == "__main__":
    main()
