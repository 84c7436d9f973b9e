"""Characters a second through streams, against a bare loop of the same step graph, and against a plain endpoint."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from pathlib import Path
from statistics import median, quantiles

import numpy as np

from bench.server import plain_server, running_server
from bench.step_loop import StepLoop, StepProcess, Writing
from bench.streams import Streamed, read_streams

STREAMS = 32
TARGET_RATIO = 0.7  # of the bare loop, for one stream and for all
TARGET_FIRST_TOKEN_MS = 50.0  # 95th percentile, while all streams run
PATH = "/v1/completions"


class Characters:
    """Characters a second of each round, and the waits of all probes."""

    def __init__(self) -> None:
        self.per_s: dict[str, list[float]] = defaultdict(list)
        self.first_token_s: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, streamed: Streamed) -> None:
        self.per_s[name].append(streamed.characters_per_s)
        self.first_token_s[name] += streamed.first_token_s

    def ratio(self, name: str, reference: str) -> float:
        """Median over the rounds of what `name` is to `reference` in the same round."""
        return median(a / b for a, b in zip(self.per_s[name], self.per_s[reference], strict=True))

    def first_token_ms(self, name: str) -> float:
        """95th percentile."""
        return quantiles(self.first_token_s[name], n=20)[18] * 1000


def weight_reading_s(directory: Path, repetitions: int = 50) -> float:
    """The best time to read as many bytes as the graph has, by a matrix times a vector: what one step cannot do without."""
    weights = np.ones(((directory / "model.onnx").stat().st_size // 4096, 1024), dtype=np.float32)
    vector, seconds = np.ones(1024, dtype=np.float32), []
    for _ in range(repetitions):
        started = time.perf_counter()
        weights @ vector
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def measure(models: Path, directory: Path, rounds: int, seconds: float, cores: int) -> Characters:
    """Rounds of bare loop, server and plain endpoint, one after the other, so that noise meets them alike."""
    model, measured = directory.parent.name, Characters()
    long, short = Writing("Happy families ", 4000, 0.8), Writing("Happy families are all alike; every ", 8, 0.8)
    expected = StepLoop(directory, cores).write(long, STREAMS)
    bare = {threads: StepProcess(directory, threads) for threads in sorted({1, cores})}
    with running_server(models) as port, plain_server(directory) as plain_port:
        for number in range(1, rounds + 1):
            for texts in (1, STREAMS):
                by_threads = {threads: process.characters_per_s(long, texts, seconds) for threads, process in bare.items()}
                for threads, figure in by_threads.items():
                    measured.per_s[f"bare {texts}, threads {threads}"].append(figure)
                measured.per_s[f"bare {texts}"].append(max(by_threads.values()))
                for name, at in (("axon", port), ("plain", plain_port)):
                    probe = short if texts > 1 else None
                    streamed = asyncio.run(read_streams(at, PATH, model, long, expected[:texts], seconds, probe))
                    measured.add(f"{name} {texts}", streamed)
            print(f"round {number}: " + "  ".join(f"{name} {figures[-1]:,.0f}/s" for name, figures in measured.per_s.items()), flush=True)
    return measured


def report(measured: Characters) -> None:
    print(f"\n{'':28}{'characters/s':>14}{'of bare loop':>14}")
    for texts in (1, STREAMS):
        many = f"{texts} streams" if texts > 1 else "1 stream"
        for name, title in (("bare", "bare loop"), ("axon", "HTTP"), ("plain", "plain endpoint")):
            figures = measured.per_s[f"{name} {texts}"]
            print(f"{title + ', ' + many:28}{median(figures):14,.0f}{measured.ratio(f'{name} {texts}', f'bare {texts}'):14.2f}")
    print(f"\none stream: {measured.ratio('axon 1', 'bare 1'):.2f} of the bare loop (target {TARGET_RATIO} or more)")
    print(f"{STREAMS} streams: {measured.ratio(f'axon {STREAMS}', f'bare {STREAMS}'):.2f} of the bare loop (target {TARGET_RATIO} or more)")
    waits = {name: measured.first_token_ms(f"{name} {STREAMS}") for name in ("axon", "plain")}
    print(
        f"first token beside {STREAMS} streams, 95th percentile: {waits['axon']:.1f} ms (target {TARGET_FIRST_TOKEN_MS:.0f} or less); "
        f"plain endpoint {waits['plain']:.1f} ms"
    )
