"""A model that answers: its manifest, its pipeline, its session and its batcher. `predict` is the whole path."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from app.contract.manifest import ModelManifest
from app.errors import DeadlineExceeded
from app.runtime.batcher import BatchTiming, DynamicBatcher
from app.runtime.golden import replay_golden
from app.runtime.metrics import ServingMetrics
from app.runtime.options import RuntimeOptions
from app.runtime.pipeline import Pipeline, Tensors, split_rows, stack_rows
from app.runtime.session import Session


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer an item, and where the time went, in milliseconds."""

    answers: list[Any]
    timing_ms: dict[str, float]


@dataclass(slots=True)
class _Preparation:
    """The rows of each item of a request, made in the executor, and the time.monotonic() instant when they were there."""

    rows: list[list[Any]] = field(default_factory=list)
    ended: float = 0.0


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
            max_queue_bytes=options.max_queue_bytes,
            bucket_of=pipeline.bucket,
            nbytes_of=lambda row: row.nbytes,
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
        preparation = _Preparation()
        prepare = partial(self._preprocess, items, options, preparation)
        started = time.monotonic()
        with self._metrics.counted():
            outputs = await self.batcher.submit_unprepared(prepare, len(items), sum(map(sys.getsizeof, items)), deadline)
            ran = time.monotonic()
            answers = self._postprocess(preparation.rows, outputs, options)
        prepared, ended = preparation.ended, time.monotonic()
        self._observe_request(started, ran, ended)
        return Prediction(answers, _milliseconds(preprocess=prepared - started, infer=ran - prepared, total=ended - started))

    async def infer(self, inputs: Tensors, deadline: float | None = None) -> Tensors:
        """The graph's outputs for tensors: their rows wait in the same queue as those of `predict`, and may share its batches."""
        started = time.monotonic()
        with self._metrics.counted():
            count, nbytes = len(next(iter(inputs.values()))), sum(tensor.nbytes for tensor in inputs.values())
            outputs = await self.batcher.submit_unprepared(partial(self._take_apart, inputs, deadline), count, nbytes, deadline)
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

    def _preprocess(self, items: Sequence[Any], options: Any, preparation: _Preparation) -> list[Any]:
        started = time.monotonic()
        for item in items:
            self.batcher.check_open()
            preparation.rows.append(self.pipeline.preprocess(item, options))
        preparation.ended = time.monotonic()
        self._metrics.computed("preprocess", preparation.ended - started)
        return [row for group in preparation.rows for row in group]

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
