"""`python -m bench`: throughput over HTTP against the limit, idle latency against the direct call, streams of text, drawings, overload."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median, quantiles

from app.runtime.cores import available_cores
from bench import drawing, overload, writing
from bench.clients import check, closed_loop, post
from bench.limit import DirectModel, LimitProcesses
from bench.picture import lesion_jpeg
from bench.server import running_server

TARGET_RATIO = 0.85  # of the limit, at the most clients
TARGET_LATENCY = 1.3  # times the direct call, at one client


class Measurements:
    """Answers a second and median latency of each round, by what was measured."""

    def __init__(self) -> None:
        self.per_s: dict[str, list[float]] = defaultdict(list)
        self.p50_ms: dict[str, list[float]] = defaultdict(list)
        self.p99_ms: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, latencies_s: list[float], seconds: float) -> None:
        self.per_s[name].append(len(latencies_s) / seconds)
        self.p50_ms[name].append(median(latencies_s) * 1000)
        self.p99_ms[name].append(quantiles(latencies_s, n=100)[98] * 1000)

    def ratio(self, figures: dict[str, list[float]], name: str, reference: str) -> float:
        """Median over the rounds of what `name` is to `reference` in the same round: the machine's mood cancels out."""
        return median(a / b for a, b in zip(figures[name], figures[reference], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models"), help="model repository")
    parser.add_argument("--model", default="skin-lesion", help="an image-classification model")
    parser.add_argument("--writer", default="anna", help="a text-generation model")
    parser.add_argument("--drawers", nargs="+", default=["style-transfer", "horse2zebra"], help="image-to-image models")
    parser.add_argument("--sides", type=int, nargs="+", default=drawing.SIDES, help="of the pictures that they get, in pixels")
    parser.add_argument("--only", choices=["pictures", "streams", "images-to-images", "overload"], help="one part of the benchmark")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    arguments = parser.parse_args()
    if arguments.only in (None, "pictures"):
        bench_pictures(arguments)
    if arguments.only in (None, "streams"):
        bench_streams(arguments)
    if arguments.only in (None, "images-to-images"):
        bench_drawings(arguments)
    if arguments.only in (None, "overload"):
        bench_overload(arguments)


def bench_pictures(arguments: argparse.Namespace) -> None:
    cores, picture = available_cores(), lesion_jpeg()
    directory = newest(arguments.models / arguments.model)
    print(f"{directory}: {cores} cores, load average {os.getloadavg()[0]:.1f}, JPEG of {len(picture) / 1000:.1f} kB")
    report(measure(arguments, directory, picture, cores), arguments.clients, cores)


def bench_streams(arguments: argparse.Namespace) -> None:
    cores, directory = available_cores(), newest(arguments.models / arguments.writer)
    bound_s = writing.weight_reading_s(directory)
    print(f"\n{directory}: {cores} cores, load average {os.getloadavg()[0]:.1f}")
    print(f"reading all weights once takes {bound_s * 1e6:.0f} us: one stream cannot have more than {1 / bound_s:,.0f} characters/s")
    writing.report(writing.measure(arguments.models, directory, arguments.rounds, arguments.seconds, cores))


def bench_drawings(arguments: argparse.Namespace) -> None:
    cores = available_cores()
    for name in arguments.drawers:
        directory = newest(arguments.models / name)
        print(f"\n{directory}: {cores} cores, load average {os.getloadavg()[0]:.1f}, square JPEGs in, PNG out")
        measured = [drawing.measure(directory, side, arguments.rounds, arguments.seconds, cores) for side in arguments.sides]
        drawing.report(measured, cores)


def bench_overload(arguments: argparse.Namespace) -> None:
    print(f"\n{newest(arguments.models / arguments.model)}: {available_cores()} cores")
    request = post(f"/v1/image-classification/{arguments.model}", "image/jpeg", lesion_jpeg())
    overload.report(*overload.measure(arguments.models, request, arguments.seconds))


def newest(folder: Path) -> Path:
    """The directory of a model's newest version."""
    if not folder.is_dir():
        sys.exit(f"bench: there is no model in {folder}")
    return max(folder.iterdir(), key=lambda version: int(version.name))


def measure(arguments: argparse.Namespace, directory: Path, picture: bytes, cores: int) -> Measurements:
    """Rounds of direct call, limit and every number of clients, one after the other, so that noise meets them alike."""
    measured = Measurements()
    expected = DirectModel(directory)(picture)
    limit = LimitProcesses(directory, picture, cores)
    request = post(f"/v1/image-classification/{arguments.model}", "image/jpeg", picture)
    seconds = arguments.seconds
    with running_server(arguments.models) as port:
        for number in range(1, arguments.rounds + 1):
            measured.add("direct", limit.latencies_s(seconds, 1), seconds)
            measured.add("limit", limit.latencies_s(seconds, cores), seconds)
            for clients in arguments.clients:
                load = asyncio.run(closed_loop(port, request, clients, seconds, warm_up_s=0.5))
                check(load, expected)
                measured.add(str(clients), load.latencies_s, seconds)
            print(f"round {number}: " + "  ".join(f"{name} {figures[-1]:.1f}/s" for name, figures in measured.per_s.items()), flush=True)
    return measured


def report(measured: Measurements, clients: list[int], cores: int) -> None:
    """Medians over the rounds; a ratio is the median of the rounds' ratios."""
    print(f"\n{'':24}{'answers/s':>10}{'of limit':>10}{'p50 ms':>10}{'p99 ms':>10}")
    titles = {"direct": "direct call, 1 process", "limit": f"limit, {cores} processes"} | {str(n): f"HTTP, {n} clients" for n in clients}
    for name, title in titles.items():
        ratio = measured.ratio(measured.per_s, name, "limit")
        p50, p99 = median(measured.p50_ms[name]), median(measured.p99_ms[name])
        print(f"{title:24}{median(measured.per_s[name]):10.1f}{ratio:10.2f}{p50:10.2f}{p99:10.2f}")
    most, fewest = str(max(clients)), str(min(clients))
    throughput = measured.ratio(measured.per_s, most, "limit")
    latency = measured.ratio(measured.p50_ms, fewest, "direct")
    print(f"\nthroughput at {most} clients: {throughput:.2f} of the limit (target {TARGET_RATIO} or more)")
    print(f"latency at {fewest} client: {latency:.2f} of the direct call (target {TARGET_LATENCY} or less)")


if __name__ == "__main__":
    main()
