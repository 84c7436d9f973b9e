"""`python -m tests.fuzz`: a real server on the shipped models, and hostile clients for some minutes. See docs/operations.md."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from random import randrange
from tempfile import TemporaryDirectory

from tests.e2e.server import RunningServer, running_server
from tests.fuzz.answers import problems
from tests.fuzz.delivery import Case, converse
from tests.fuzz.fuzzer import PATIENCE_S, REQUEST_TIMEOUT_MS, Fuzzer
from tests.fuzz.requests import requests_of
from tests.fuzz.schema import for_seconds, run_schemathesis
from tests.fuzz.watch import Watch

EVERY = range(2**62)  # cases; time ends them


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for both parts together")
    parser.add_argument("--models", type=Path, default=Path("models"), help="model repository")
    parser.add_argument("--seed", type=int, default=None, help="the same one gives the same cases; by default a new one, which is printed")
    parser.add_argument("--clients", type=int, default=16, help="at once")
    parser.add_argument("--only", choices=["schema", "wire"], help="one part")
    parser.add_argument("--case", type=int, help="this one of the seed, alone")
    parser.add_argument("--repeat", type=Path, help="a case that was written down")
    parser.add_argument("--findings", type=Path, default=Path("runs/fuzz"), help="where cases that found something are written")
    arguments = parser.parse_args()
    seed = randrange(2**31) if arguments.seed is None else arguments.seed
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with running_server(arguments.models, log, log_format="json", request_timeout_ms=REQUEST_TIMEOUT_MS) as server:
            sys.exit(0 if run(server, arguments, seed) else 1)


def run(server: RunningServer, arguments: argparse.Namespace, seed: int) -> bool:
    """Whether nothing was found."""
    if arguments.repeat is not None:
        return asyncio.run(repeat(server, Case.read(arguments.repeat)))
    well = True
    seconds = arguments.minutes * 60 / (2 if arguments.only is None else 1)
    if arguments.only in (None, "schema"):
        well = fuzz_schema(server, seed, seconds)
    if arguments.only in (None, "wire"):
        well = asyncio.run(fuzz_wire(server, arguments, seed, seconds)) and well
    return well


def fuzz_schema(server: RunningServer, seed: int, seconds: float) -> bool:
    print(f"schema: seed {seed}, {seconds:.0f} s", flush=True)
    watch = Watch(server)
    with TemporaryDirectory() as folder:
        well, _ = run_schemathesis(server.address, Path(folder), seed, *for_seconds(seconds), timeout_s=seconds)
    found = asyncio.run(look_after(watch))
    print("of the server: " + ("\n  ".join(["", *found]) if found else "nothing to report"), flush=True)
    return well and not found


async def look_after(watch: Watch) -> list[str]:
    return [*await watch.look(), *await watch.settle(), *watch.new_log_problems()]


async def repeat(server: RunningServer, case: Case) -> bool:
    """The case, and what is wrong with what came of it."""
    heard = await converse(server.port, case, PATIENCE_S)
    found = [heard.problem] if heard.problem else []
    for target, answer in zip([*case.targets, *[None] * len(heard.answers)], heard.answers, strict=False):
        print(answer)
        found += problems(answer, target)
    print(server.log(), *found, sep="\n")
    return not found


async def fuzz_wire(server: RunningServer, arguments: argparse.Namespace, seed: int, seconds: float) -> bool:
    seeds = requests_of(server.address)
    print(f"wire: seed {seed}, {len(seeds)} valid requests, {arguments.clients} clients, {seconds:.0f} s", flush=True)
    watch, fuzzer = Watch(server), Fuzzer(server.port, seeds, seed, arguments.findings)
    numbers = EVERY if arguments.case is None else range(arguments.case, arguments.case + 1)
    report = await fuzzer.run(numbers, arguments.clients, seconds, watch)
    print(report, watch.memory(), watch.health(), sep="\n", flush=True)
    return not report.findings


if __name__ == "__main__":
    main()
