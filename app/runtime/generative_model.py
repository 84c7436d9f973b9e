"""A model that writes: its manifest, its pipeline, its session and the batcher that all its texts share."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from app.contract.manifest import Graph, ModelManifest
from app.errors import ModelRejected
from app.runtime.batcher import BatchTiming, DynamicBatcher, RequestTiming, until
from app.runtime.generation import ContinuousBatcher, TokenSink
from app.runtime.golden import try_out
from app.runtime.metrics import ServingMetrics
from app.runtime.options import RuntimeOptions
from app.runtime.pipeline import Pipeline, Tensors, nbytes_of, stack_rows
from app.runtime.run_health import RunHealth
from app.runtime.session import Session, Stopper
from app.runtime.slots import GenerationRequest, Slots

logger = logging.getLogger("axon.generation")


class GenerativeModel:
    """One version of one model, loaded and warm."""

    wide_runs: ClassVar[bool] = True  # a step cannot be split by time, only by rows: all sequences go together

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
        limits, (state_shape, vocabulary) = options.generation, recurrent_shapes(manifest.graphs["model"])
        slots = Slots(session, limits.max_live_sequences, state_shape, vocabulary, limits.prefill_chunk_tokens)
        self._executor = executor
        self.health = RunHealth(self.name, self._try_out, executor, self._metrics, options.stuck_run_timeout_s)
        self._runs = DynamicBatcher(
            manifest.name,
            self._run_one,
            executor,
            instances=1,
            max_batch_size=1,
            max_queue_size=options.max_queue_size,
            max_queue_bytes=options.max_queue_bytes,
            nbytes_of=nbytes_of,
            observe=self._observe_run,
            observe_request=self._observe_request,
            observe_failure=self.health.failed,
        )
        self.batcher = ContinuousBatcher(
            manifest.name,
            slots,
            executor,
            self._metrics,
            max_waiting=limits.max_waiting_sequences,
            max_bytes=options.max_queue_bytes,
            observe=self._observe_burst,
        )

    @property
    def name(self) -> str:
        return self.manifest.name

    @contextmanager
    def generating(self, work: Sequence[tuple[GenerationRequest, TokenSink]], deadline: float | None = None) -> Iterator[None]:
        """Texts are written while this is open; what is not complete when it closes is dropped, and its slots are free.

        Raises as the batcher's `submit` does.
        """
        started = time.monotonic()
        with self._metrics.counted():
            sequences = self.batcher.submit(work, deadline)
            try:
                yield
            finally:
                for sequence in sequences:
                    sequence.cancel()
        ended, began = time.monotonic(), min(sequence.admitted_at for sequence in sequences)
        self._metrics.ran(began - started, ended - began)
        self._metrics.request_s.observe(ended - started)

    async def infer(self, inputs: Tensors, deadline: float | None = None) -> Tensors:
        """One run of the graph, beside the texts that are being written; such runs wait for each other."""
        started = time.monotonic()
        with self._metrics.counted(), self._runs.room(1, nbytes_of(inputs)) as room:
            rows = await until(deadline, asyncio.get_running_loop().run_in_executor(self._executor, self._take_apart, inputs))
            prepared = time.monotonic()
            outputs = await self._runs.submit(rows, deadline, room)
            ran = time.monotonic()
        self._metrics.answered(started, prepared, ran, time.monotonic())
        return outputs[0] if outputs else stack_rows([], self.manifest.graphs["model"].outputs)

    def warm_up(self) -> None:
        self._try_out()
        if not self.batcher.slots.make_independent():
            logger.warning(
                "%s: a row's bits depend on the batch here, so every run has all %d rows", self.name, self.batcher.slots.capacity
            )

    def stop_accepting(self) -> None:
        self.batcher.stop_accepting()
        self._runs.stop_accepting()

    async def drain(self, grace_s: float) -> None:
        await asyncio.gather(self.batcher.drain(grace_s), self._runs.drain(grace_s))

    def _try_out(self) -> None:
        try_out(self.manifest, self.directory, self.pipeline, self.session)

    def _take_apart(self, inputs: Tensors) -> list[Tensors]:
        with self._metrics.preprocessing():
            return list(self.pipeline.rows(inputs))

    def _run_one(self, runs: list[Tensors], stopper: Stopper) -> list[Tensors]:
        return [self.session.run(tensors, stopper) for tensors in runs]

    def _observe_burst(self, error: Exception | None) -> None:
        if error is None:
            self.health.succeeded()
        else:
            self.health.failed(error)

    def _observe_request(self, timing: RequestTiming) -> None:
        self._metrics.ran(timing.wait_s, timing.run_s)

    def _observe_run(self, timing: BatchTiming) -> None:
        self.health.succeeded()
        self._metrics.batch(timing.size, timing.oldest_wait_s, timing.run_s)


def recurrent_shapes(graph: Graph) -> tuple[tuple[int, ...], int]:
    """(shape of one sequence's state, size of the vocabulary) of docs/decisions/0007-text-generation.md. Raises ModelRejected."""
    tensors = {spec.name: (spec.datatype, spec.shape) for spec in (*graph.inputs, *graph.outputs)}
    state, logits = tensors.get("state", ("", ()))[1], tensors.get("logits", ("", ()))[1]
    expected = {
        "input_ids": ("INT64", (-1, -1)),
        "lengths": ("INT64", (-1,)),
        "state": ("FP32", (-1, *state[1:])),
        "next_state": ("FP32", (-1, *state[1:])),
        "logits": ("FP32", (-1, -1, *logits[2:])),
    }
    sizes = (*state[1:], *logits[2:])
    if tensors != expected or len(state) < 2 or len(logits) != 3 or any(size < 1 for size in sizes):
        raise ModelRejected(
            "a graph that generates maps input_ids, lengths and state to logits and next_state, the batch first; export it again"
        )
    return state[1:], logits[2]
