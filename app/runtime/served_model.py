"""A model that answers: its manifest, its pipeline, its session and its batcher. `predict` is the whole path."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from app.contract.manifest import ModelManifest
from app.errors import RunStuck
from app.runtime.batcher import BatchTiming, DynamicBatcher, RequestTiming, Room, until
from app.runtime.golden import try_out
from app.runtime.metrics import ServingMetrics
from app.runtime.options import RuntimeOptions
from app.runtime.pipeline import Pipeline, Tensors, nbytes_of, split_rows, stack_rows
from app.runtime.run_health import RunHealth
from app.runtime.session import RunStopped, Session, Stopper

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer an item, and where the time went, in milliseconds."""

    answers: list[Any]
    timing_ms: dict[str, float]


class ServedModel:
    """One version of one model, loaded and warm."""

    wide_runs: ClassVar[bool] = False

    def __init__(
        self,
        manifest: ModelManifest,
        directory: Path,
        pipeline: Pipeline,
        session: Session,
        executor: Executor,
        metrics: ServingMetrics,
        options: RuntimeOptions,
    ) -> None:
        self.manifest = manifest
        self.directory = directory
        self.pipeline = pipeline
        self.session = session
        self._executor = executor
        self._metrics = metrics.of(manifest.name, manifest.version)
        self.health = RunHealth(self.name, self.warm_up, executor, self._metrics, options.stuck_run_timeout_s)
        self.batcher = DynamicBatcher(
            manifest.name,
            self._run_batch,
            executor,
            instances=options.instances(session.actual_provider),
            max_batch_size=options.rows(session.actual_provider, manifest.batching.max_batch_size),
            max_queue_delay_us=manifest.batching.max_queue_delay_us,
            max_queue_size=options.max_queue_size,
            max_queue_bytes=options.max_queue_bytes,
            bucket_of=pipeline.bucket,
            nbytes_of=lambda row: row.nbytes,
            pixels_of=pipeline.pixels,
            max_batch_pixels=manifest.max_batch_pixels,
            observe=self._observe_batch,
            observe_request=self._observe_request,
            observe_failure=self.health.failed,
        )

    @property
    def name(self) -> str:
        return self.manifest.name

    async def predict(self, items: Sequence[Any], options: Any = None, deadline: float | None = None) -> Prediction:
        """Preprocess, batch, run, postprocess. One answer an item.

        `deadline` is a time.monotonic() instant. Raises what preprocess, the batcher and the run raise.
        """
        options = self.pipeline.default_options() if options is None else options
        started = time.monotonic()
        with self._metrics.counted(), self.batcher.room(len(items), sum(map(sys.getsizeof, items))) as room:
            rows = await self._off_the_loop(partial(self._preprocess, items, options, room), deadline)
            prepared = time.monotonic()
            outputs = await self.batcher.submit([row for group in rows for row in group], deadline, room)
            ran = time.monotonic()
            answers = await self._answer(partial(self._postprocess, rows, outputs, options), deadline)
        ended = time.monotonic()
        self._metrics.answered(started, prepared, ran, ended)
        return Prediction(answers, _milliseconds(preprocess=prepared - started, infer=ran - prepared, total=ended - started))

    async def infer(self, inputs: Tensors, deadline: float | None = None) -> Tensors:
        """The graph's outputs for tensors: their rows wait in the same queue as those of `predict`, and may share its batches."""
        started = time.monotonic()
        with self._metrics.counted(), self.batcher.room(len(next(iter(inputs.values()))), nbytes_of(inputs)) as room:
            rows = await self._off_the_loop(partial(self._take_apart, inputs, room), deadline)
            prepared = time.monotonic()
            outputs = await self.batcher.submit(rows, deadline, room)
            ran = time.monotonic()
            answer = await self._answer(partial(stack_rows, outputs, self.manifest.graphs["model"].outputs), deadline)
        self._metrics.answered(started, prepared, ran, time.monotonic())
        return answer

    def warm_up(self) -> None:
        try_out(self.manifest, self.directory, self.pipeline, self.session)

    def stop_accepting(self) -> None:
        self.batcher.stop_accepting()

    async def drain(self, grace_s: float) -> None:
        await self.batcher.drain(grace_s)

    async def _off_the_loop(self, work: Callable[[], Made], deadline: float | None) -> Made:
        try:
            return await until(deadline, asyncio.get_running_loop().run_in_executor(self._executor, work))
        except RunStuck as error:
            self.health.failed(error)
            raise

    async def _answer(self, work: Callable[[], Made], deadline: float | None) -> Made:
        """Large outputs are work even to copy."""
        return await self._off_the_loop(work, deadline) if self.pipeline.postprocess_blocks else work()

    def _preprocess(self, items: Sequence[Any], options: Any, room: Room) -> list[list[Any]]:
        rows = []
        with self._metrics.preprocessing():
            for item in items:
                self._check_wanted(room)
                rows.append(self.pipeline.preprocess(item, options))
        return rows

    def _take_apart(self, inputs: Tensors, room: Room) -> list[Any]:
        rows = []
        with self._metrics.preprocessing():
            for row in self.pipeline.rows(inputs):
                self._check_wanted(room)
                rows.append(row)
        return rows

    def _check_wanted(self, room: Room) -> None:
        """Work that nobody waits for, or that will not run, is not gone on with."""
        self.batcher.check_open()
        if not room.wanted:
            raise RunStopped

    def _run_batch(self, rows: list[Any], stopper: Stopper) -> list[Any]:
        return split_rows(self.session.run(self.pipeline.collate(rows), stopper), len(rows))

    def _postprocess(self, rows: list[list[Any]], outputs: list[Any], options: Any) -> list[Any]:
        answers, start = [], 0
        for group in rows:
            answers.append(self.pipeline.postprocess(group, outputs[start : start + len(group)], options))
            start += len(group)
        return answers

    def _observe_request(self, timing: RequestTiming) -> None:
        self._metrics.ran(timing.wait_s, timing.run_s)

    def _observe_batch(self, timing: BatchTiming) -> None:
        self.health.succeeded()
        self._metrics.batch(timing.size, timing.oldest_wait_s, timing.run_s)


def _milliseconds(**seconds: float) -> dict[str, float]:
    return {stage: round(value * 1000, 2) for stage, value in seconds.items()}
