"""Milliseconds a megapixel of the models that draw, over HTTP against the direct call, and the memory that the server takes."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.contract.manifest import load_manifest
from app.runtime.session import OrtSession
from app.tasks.image_to_image import Pipeline
from bench.clients import HEAD_END, Load, WrongAnswer, closed_loop, post
from bench.limit import LimitProcesses
from bench.picture import landscape_jpeg
from bench.server import peak_memory_mb, server_of_one_model

SIDES = (256, 512, 1024)
TARGET_RATIO = 0.9  # of the direct call, and of as many processes as cores
ANSWERS_A_ROUND = 4  # at least, of a large picture that takes seconds
LONG_ROUNDS = 3  # of such a picture, at most
ATOL = 2  # of 255: a batch may be rounded otherwise than a row alone


class DirectDrawing:
    """One picture in, one out, by the server's own pipeline and session; the default choice."""

    def __init__(self, directory: Path) -> None:
        manifest = load_manifest(directory)
        self._pipeline = Pipeline.load(manifest, directory)
        self._order = self._pipeline.default_options()
        self._session = OrtSession(directory / manifest.graphs["model"].file, threads=1)

    def __call__(self, picture: bytes) -> bytes:
        """PNG."""
        rows = self._pipeline.preprocess(picture, self._order)
        outputs = self._session.run(self._pipeline.collate(rows))
        return self._pipeline.postprocess(rows, [{name: tensor[0] for name, tensor in outputs.items()}], self._order).data


@dataclass
class Drawings:
    """What was measured of one model at one size. Each list has an entry a round."""

    side: int
    direct_ms: list[float] = field(default_factory=list)  # median
    http_ms: list[float] = field(default_factory=list)  # median, one client
    limit_per_s: list[float] = field(default_factory=list)  # a process a core
    load_per_s: list[float] = field(default_factory=list)  # two clients a core
    idle_mb: float = 0.0
    peak_mb: float = 0.0


def measure(directory: Path, side: int, rounds: int, seconds: float, cores: int) -> Drawings:
    """Rounds of direct call, one client, limit and many clients, one after the other, so that noise meets them alike."""
    measured, picture = Drawings(side), landscape_jpeg(side)
    expected = DirectDrawing(directory)(picture)
    request = post(f"/v1/image-to-image/{directory.parent.name}", "image/jpeg", picture)
    limit, clients = LimitProcesses(directory, picture, cores, DirectDrawing), 2 * cores
    with server_of_one_model(directory) as (port, pid):
        measured.idle_mb = peak_memory_mb(pid)
        for number in range(1, rounds + 1):
            direct_s = limit.latencies_s(seconds, 1)
            measured.direct_ms.append(median(direct_s) * 1000)
            window_s = max(seconds, ANSWERS_A_ROUND * median(direct_s))
            alone = asyncio.run(closed_loop(port, request, 1, window_s, warm_up_s=0.5))
            measured.http_ms.append(median(alone.latencies_s) * 1000)
            measured.limit_per_s.append(cores / fmean(limit.latencies_s(seconds, cores)))
            together = asyncio.run(closed_loop(port, request, clients, 2 * window_s, warm_up_s=0.5))
            measured.load_per_s.append(clients / fmean(together.settled_s))
            for load in (alone, together):
                check(load, expected)
            print(f"round {number}, {side} px: direct {measured.direct_ms[-1]:.0f} ms, HTTP {measured.http_ms[-1]:.0f} ms", flush=True)
            if window_s > seconds and number == LONG_ROUNDS:
                break
        measured.peak_mb = peak_memory_mb(pid)
    return measured


def check(load: Load, expected: bytes) -> None:
    """Every answer is a 200 that holds the direct call's picture. Raises WrongAnswer."""
    drawn = _pixels(expected)
    for answer in load.answers:
        head, _, body = answer.partition(HEAD_END)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise WrongAnswer(head.split(b"\r\n")[0].decode())
        if body != expected and np.abs(_pixels(body) - drawn).max() > ATOL:
            raise WrongAnswer("the server draws another picture than the direct call")


def _pixels(data: bytes) -> NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(data))).astype(np.int64)


def report(measured: list[Drawings], cores: int) -> None:
    """Medians over the rounds; a ratio is the median of the rounds' ratios."""
    print(f"\n{'':8}{'direct':>18}{'HTTP, 1 client':>18}{'':>10}{f'{cores} processes':>14}{f'{2 * cores} clients':>14}{'':>10}{'peak':>10}")
    print(f"{'px':8}{'ms':>8}{'ms/Mpx':>10}{'ms':>8}{'ms/Mpx':>10}{'ratio':>10}{'Mpx/s':>14}{'Mpx/s':>14}{'ratio':>10}{'MB':>10}")
    for case in measured:
        megapixels = case.side**2 / 1e6
        direct, http = median(case.direct_ms), median(case.http_ms)
        alone = median(a / b for a, b in zip(case.direct_ms, case.http_ms, strict=True))
        together = median(a / b for a, b in zip(case.load_per_s, case.limit_per_s, strict=True))
        print(
            f"{case.side:<8}{direct:8.0f}{direct / megapixels:10.0f}{http:8.0f}{http / megapixels:10.0f}{alone:10.2f}"
            f"{median(case.limit_per_s) * megapixels:14.2f}{median(case.load_per_s) * megapixels:14.2f}{together:10.2f}{case.peak_mb:10.0f}"
        )
    print(f"both ratios: HTTP to no HTTP (target {TARGET_RATIO} or more); the idle server has {measured[0].idle_mb:.0f} MB")
