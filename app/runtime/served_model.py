"""A model that answers: its manifest, its pipeline, its session and its batcher. `predict` is the whole path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from app.contract.manifest import ModelManifest
from app.errors import DeadlineExceeded
from app.runtime.batcher import BatchTiming, DynamicBatcher, until
from app.runtime.golden import replay_golden
from app.runtime.metrics import ServingMetrics
from app.runtime.options import RuntimeOptions
from app.runtime.pipeline import Pipeline, Tensors, split_rows, stack_rows
from app.runtime.session import Session

Rows = TypeVar("Rows")


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
        self._preparing = 0  # items between the door and the queue
        self._metrics = metrics.of(manifest.name, manifest.version)
        self._metrics.provider(session.requested_provider, session.actual_provider)
        self.batcher = DynamicBatcher(
            manifest.name,
            self._run_batch,
            executor,
            instances=options.instances,
            max_batch_size=manifest.batching.max_batch_size,
            max_queue_delay_us=manifest.batching.max_queue_delay_us,
            max_queue_size=options.max_queue_size,
            max_batch_pixels=manifest.max_batch_pixels,
            bucket_of=pipeline.bucket,
            pixels_of=pipeline.pixels,
            observe=self._observe_batch,
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
        with self._metrics.counted():
            rows = await self._prepare(len(items), partial(self._preprocess, items, options), deadline)
            prepared = time.monotonic()
            outputs = await self.batcher.submit([row for group in rows for row in group], deadline)
            ran = time.monotonic()
            answers = await self._answer(partial(self._postprocess, rows, outputs, options), deadline)
        ended = time.monotonic()
        self._observe_request(started, ran, ended)
        return Prediction(answers, _milliseconds(preprocess=prepared - started, infer=ran - prepared, total=ended - started))

    async def infer(self, inputs: Tensors, deadline: float | None = None) -> Tensors:
        """The graph's outputs for tensors: their rows wait in the same queue as those of `predict`, and may share its batches."""
        started = time.monotonic()
        with self._metrics.counted():
            count = len(next(iter(inputs.values())))
            rows = await self._prepare(count, partial(self._take_apart, inputs, deadline), deadline)
            outputs = await self.batcher.submit(rows, deadline)
            ran = time.monotonic()
            answer = stack_rows(outputs, self.manifest.graphs["model"].outputs)
        self._observe_request(started, ran, time.monotonic())
        return answer

    def warm_up(self) -> None:
        replay_golden(self.manifest, self.directory, self.pipeline, self.session)

    def stop_accepting(self) -> None:
        self.batcher.stop_accepting()

    async def drain(self, grace_s: float) -> None:
        await self.batcher.drain(grace_s)

    async def _prepare(self, count: int, work: Callable[[], Rows], deadline: float | None) -> Rows:
        """Make the rows of `count` items off the event loop, if the queue has room for what is being prepared as well."""
        self.batcher.check_room(count, promised=self._preparing)
        self._preparing += count
        try:
            return await until(deadline, asyncio.get_running_loop().run_in_executor(self._executor, work))
        finally:
            self._preparing -= count

    def _preprocess(self, items: Sequence[Any], options: Any) -> list[list[Any]]:
        started = time.monotonic()
        rows = []
        for item in items:
            self.batcher.check_open()
            rows.append(self.pipeline.preprocess(item, options))
        self._metrics.computed("preprocess", time.monotonic() - started)
        return rows

    def _take_apart(self, inputs: Tensors, deadline: float | None) -> list[Any]:
        started = time.monotonic()
        rows = []
        for row in self.pipeline.rows(inputs):
            self.batcher.check_open()
            if deadline is not None and time.monotonic() >= deadline:
                raise DeadlineExceeded
            rows.append(row)
        self._metrics.computed("preprocess", time.monotonic() - started)
        return rows

    async def _answer(self, work: Callable[[], list[Any]], deadline: float | None) -> list[Any]:
        if not self.pipeline.postprocess_blocks:
            return work()
        return await until(deadline, asyncio.get_running_loop().run_in_executor(self._executor, work))

    def _run_batch(self, rows: list[Any]) -> list[Any]:
        return split_rows(self.session.run(self.pipeline.collate(rows)), len(rows))

    def _postprocess(self, rows: list[list[Any]], outputs: list[Any], options: Any) -> list[Any]:
        answers, start = [], 0
        for group in rows:
            answers.append(self.pipeline.postprocess(group, outputs[start : start + len(group)], options))
            start += len(group)
        return answers

    def _observe_batch(self, timing: BatchTiming) -> None:
        self._metrics.batch(timing.size, timing.oldest_wait_s, timing.run_s)

    def _observe_request(self, started: float, ran: float, ended: float) -> None:
        self._metrics.computed("postprocess", ended - ran)
        self._metrics.request_s.observe(ended - started)


def _milliseconds(**seconds: float) -> dict[str, float]:
    return {stage: round(value * 1000, 2) for stage, value in seconds.items()}
