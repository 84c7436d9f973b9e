"""The limit of writing: the step graph and the sampler in a bare loop, no HTTP, no scheduler, in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from app.contract.manifest import load_manifest
from app.contract.sampling import Sampler, SamplingOptions
from app.runtime.session import OrtSession
from app.tasks.text_generation import Pipeline


@dataclass(frozen=True, slots=True)
class Writing:
    """What every part of the benchmark writes: text number `seed` goes on from the prompt."""

    prompt: str
    max_tokens: int
    temperature: float

    def options(self, seed: int) -> SamplingOptions:
        return SamplingOptions(temperature=self.temperature, seed=seed)


class StepLoop:
    """Reads the prompt, then writes as many texts at once as it is asked for."""

    def __init__(self, directory: Path, threads: int) -> None:
        manifest = load_manifest(directory)
        self._pipeline = Pipeline.load(manifest, directory)
        self._session = OrtSession(directory / manifest.graphs["model"].file, threads=threads)

    def write(self, writing: Writing, texts: int, seconds: float = float("inf")) -> list[str]:
        """Texts with the seeds 0, 1, ..., cut off after so many seconds."""
        end = time.perf_counter() + seconds
        ids = self._pipeline.preprocess(writing.prompt)[0]
        sampler = Sampler(texts, self._pipeline.tokenizer.vocabulary_size)
        for seed in range(texts):
            sampler.add(writing.options(seed), ids)
        outputs = self._session.run(self._pipeline.collate([ids] * texts))
        chosen = [sampler.sample(outputs["logits"][:, -1])]
        ones = np.ones(texts, dtype=np.int64)
        while len(chosen) < writing.max_tokens and time.perf_counter() < end:
            outputs = self._session.run({"input_ids": chosen[-1][:, None], "lengths": ones, "state": outputs["next_state"]})
            chosen.append(sampler.sample(outputs["logits"][:, 0]))
        return [self._pipeline.tokenizer.decode(ids) for ids in np.stack(chosen, axis=1)]


class StepProcess:
    """A step loop in a process that is idle until it is told to work."""

    def __init__(self, directory: Path, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection: Any
        self._connection, theirs = context.Pipe()
        context.Process(target=_work, args=(theirs, directory, threads), daemon=True).start()
        self._connection.recv()  # loaded

    def characters_per_s(self, writing: Writing, texts: int, seconds: float) -> float:
        """Of all texts together; the reading of the prompt is in it, as it is for a client."""
        self._connection.send((writing, texts, seconds))
        return float(self._connection.recv())


def _work(connection: Connection, directory: Path, threads: int) -> None:
    loop = StepLoop(directory, threads)
    connection.send(None)
    while True:
        try:
            writing, texts, seconds = connection.recv()
        except EOFError:
            return
        written, started = 0, time.perf_counter()
        while (left := started + seconds - time.perf_counter()) > 0:
            written += sum(map(len, loop.write(writing, texts, left)))
        connection.send(written / (time.perf_counter() - started))
