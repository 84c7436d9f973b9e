"""The limit: the same decode, preprocess, run and postprocess with no HTTP, one single-threaded process a core."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from app.contract.manifest import load_manifest
from app.runtime.session import OrtSession
from app.tasks.image_classification import Pipeline

WARM_UP_S = 0.2


class DirectModel:
    """One picture in, one answer out, by the server's own pipeline and session."""

    def __init__(self, directory: Path) -> None:
        manifest = load_manifest(directory)
        self._pipeline = Pipeline.load(manifest, directory)
        self._options = self._pipeline.default_options()
        self._session = OrtSession(directory / manifest.graphs["model"].file, threads=1)
        self._labels = [label.name for label in manifest.labels]

    def __call__(self, picture: bytes) -> dict[str, float]:
        """Probability by label."""
        rows = self._pipeline.preprocess(picture, self._options)
        tensors = self._session.run(self._pipeline.collate(rows))
        outputs = [{name: tensor[index] for name, tensor in tensors.items()} for index in range(len(rows))]
        answer = self._pipeline.postprocess(rows, outputs, self._options)
        return dict(zip(self._labels, answer.probabilities.tolist(), strict=True))


Load = Callable[[Path], Callable[[bytes], Any]]  # a model's directory to what answers a picture


class LimitProcesses:
    """As many processes as cores, each with its own model, idle until told to work."""

    def __init__(self, directory: Path, picture: bytes, processes: int, load: Load = DirectModel) -> None:
        context = multiprocessing.get_context("spawn")
        self._connections: list[Any] = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            context.Process(target=_work, args=(theirs, directory, picture, load), daemon=True).start()
            self._connections.append(ours)
        for connection in self._connections:
            connection.recv()  # loaded and warm

    def latencies_s(self, seconds: float, processes: int) -> list[float]:
        """Let so many of them answer one picture after the other for `seconds`; how long each answer took."""
        busy = self._connections[:processes]
        for connection in busy:
            connection.send(seconds)
        return [latency for connection in busy for latency in connection.recv()]


def _work(connection: Connection, directory: Path, picture: bytes, load: Load) -> None:
    """A process of the limit: waits for a number of seconds, works so long, sends what each answer took."""
    model = load(directory)
    warm_at = time.perf_counter() + WARM_UP_S
    model(picture)
    while time.perf_counter() < warm_at:
        model(picture)
    connection.send(None)
    while True:
        try:
            seconds = connection.recv()
        except EOFError:
            return
        end = time.perf_counter() + seconds
        latencies = []
        while (started := time.perf_counter()) < end:
            model(picture)
            latencies.append(time.perf_counter() - started)
        connection.send(latencies)
