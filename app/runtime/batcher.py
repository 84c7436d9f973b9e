"""Dynamic batching with Triton's semantics: a batch is what queued while the instances were busy.

With a delay of 0 no request ever waits while an instance is idle. With a delay, a batch goes when it is full, or
when its oldest row has waited `max_queue_delay_us`. Rows are counted, not requests; a request larger than a
batch is split, and so is a batch of large pictures. What waits is bounded in rows and in the bytes that requests hold.

Everything but the run itself happens on the event loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import TypeVar

from app.errors import DeadlineExceeded, InputTooLarge, ModelNotReady, QueueFull
from app.runtime.row_queue import Output, QueuedRequest, QueuedRow, Row, RowQueue
from app.runtime.session import Stopper

Answer = TypeVar("Answer")
RunBatch = Callable[[list[Row], Stopper], list[Output]]

MAX_RETRY_AFTER_S = 120
MAX_QUEUE_BYTES = 256 * 1024 * 1024
FIRST_GUESS_ROW_S = 0.01  # service time before anything was measured
SMOOTHING = 0.2  # weight of the newest batch in the measured service time


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """What one batch cost, in seconds; handed to the observer after each run."""

    size: int
    oldest_wait_s: float
    run_s: float


@dataclass(frozen=True, slots=True)
class RequestTiming:
    """How one request fared, in seconds: from the queue to its first run, and from there to its last output."""

    wait_s: float
    run_s: float


@dataclass(slots=True)
class Room:
    """What a request takes of the queue from the door to its answer."""

    rows: int  # promised to it until they are there
    nbytes: int
    wanted: bool = True  # until the request is answered, or its caller left


class DynamicBatcher:
    """Groups rows of concurrent requests into runs.

    `run_batch` takes at most `max_batch_size` rows and gives as many outputs; it is called in `executor`, at most
    `instances` at a time, with what stops it when all its callers have left. At most `max_queue_size` rows and
    `max_queue_bytes` wait: beyond, QueueFull at once.
    """

    def __init__(
        self,
        name: str,
        run_batch: RunBatch,
        executor: Executor,
        *,
        instances: int,
        max_batch_size: int,
        max_queue_delay_us: int = 0,
        max_queue_size: int = 1024,
        max_queue_bytes: int = MAX_QUEUE_BYTES,
        max_batch_pixels: int | None = None,
        bucket_of: Callable[[Row], Hashable] = lambda row: None,
        nbytes_of: Callable[[Row], int] = lambda row: 0,
        pixels_of: Callable[[Row], int] = lambda row: 0,
        observe: Callable[[BatchTiming], None] = lambda timing: None,
        observe_request: Callable[[RequestTiming], None] = lambda timing: None,
        observe_failure: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.name = name
        self.instances = instances
        self.max_queue_size = max_queue_size
        self.max_queue_bytes = max_queue_bytes
        self._delay_s = max_queue_delay_us / 1e6
        self._run_batch = run_batch
        self._executor = executor
        self._nbytes_of = nbytes_of
        self._observe = observe
        self._observe_request = observe_request
        self._observe_failure = observe_failure
        self._queue = RowQueue(max_batch_size, bucket_of, max_batch_pixels or math.inf, pixels_of)
        self._accepted = 0  # requests that are not answered
        self._promised_rows = 0
        self._held_bytes = 0
        self._running: dict[asyncio.Task[None], tuple[list[QueuedRow], Stopper]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._accepting = True
        self._closed = False
        self._idle = asyncio.Event()  # nothing accepted, nothing running
        self._row_s = FIRST_GUESS_ROW_S

    @property
    def queued_rows(self) -> int:
        return self._queue.rows

    @property
    def held_bytes(self) -> int:
        return self._held_bytes

    def retry_after_s(self) -> int:
        """Whole seconds until the queue, and what is promised to it, is done at the measured pace; between 1 and 120."""
        seconds = (self._queue.rows + self._promised_rows) * self._row_s / self.instances
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(seconds)))

    @contextmanager
    def room(self, rows: int = 1, nbytes: int = 0) -> Iterator[Room]:
        """Hold a place for a request, from before any work is done on it to its answer.

        Raises QueueFull, ModelNotReady, and InputTooLarge for a request that would not fit an empty queue either.
        """
        if not self._accepting:
            raise ModelNotReady(f"{self.name!r} is shutting down; send the request to another instance")
        room = Room(0, 0)
        self._grow(room, rows, nbytes)
        self._accepted += 1
        try:
            yield room
        finally:
            room.wanted = False
            self._promised_rows -= room.rows
            self._held_bytes -= room.nbytes
            self._accepted -= 1
            self._update_idle()

    async def submit(self, rows: Sequence[Row], deadline: float | None = None, room: Room | None = None) -> list[Output]:
        """One output a row, in order. `deadline` is a time.monotonic() instant; expired rows never run.

        Cancelling the caller drops its rows that have not started, and stops a run that nobody else waits for. Raises
        as `room` does for a request that has none yet, or for more rows than it has; DeadlineExceeded; or what the run raised.
        """
        if not rows:
            return []
        if room is None:
            with self.room(len(rows)) as room:
                return await self.submit(rows, deadline, room)
        self.check_open()
        self._grow(room, max(0, len(rows) - room.rows), sum(map(self._nbytes_of, rows)))
        self._promised_rows -= room.rows
        room.rows = 0
        request = QueuedRequest(rows, deadline, asyncio.get_running_loop().create_future())
        self._queue.put(request)
        self._dispatch()
        try:
            outputs = await until(deadline, request.future)
        except BaseException:
            request.forget_rows()
            self._stop_unwanted()
            raise
        self._observe_request(RequestTiming(request.started_at - request.enqueued_at, time.monotonic() - request.started_at))
        return outputs

    def stop_accepting(self) -> None:
        """From now on new work is refused; what was accepted still runs."""
        self._accepting = False

    async def drain(self, grace_s: float) -> None:
        """Refuse new work, finish what was accepted, and fail what is left after `grace_s` seconds: its runs are stopped."""
        self.stop_accepting()
        self._delay_s = 0.0
        self._dispatch()
        self._update_idle()
        if not self._closed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), grace_s)
        self._closed = True
        for queued in self._queue.clear():
            queued.request.fail(self._shut_down())
        for batch, stopper in self._running.values():
            stopper.stop()
            for queued in batch:
                queued.request.fail(self._shut_down())

    def check_open(self) -> None:
        """Raises ModelNotReady once a drain's grace is over: what is still being prepared will not run."""
        if self._closed:
            raise self._shut_down()

    def _shut_down(self) -> ModelNotReady:
        return ModelNotReady(f"{self.name!r} shut down before the request was answered")

    def _grow(self, room: Room, rows: int, nbytes: int) -> None:
        """Raises QueueFull or InputTooLarge if there is not so much more."""
        all_rows, all_bytes = room.rows + rows, room.nbytes + nbytes
        if all_rows > self.max_queue_size:
            raise InputTooLarge(f"the request has {all_rows:,} rows, the queue of {self.name!r} holds {self.max_queue_size:,}")
        if all_bytes > self.max_queue_bytes:
            raise InputTooLarge(f"the request has {all_bytes:,} bytes, the queue of {self.name!r} holds {self.max_queue_bytes:,}")
        if self._queue.rows + self._promised_rows + rows > self.max_queue_size:
            self._queue.drop_unwanted()
        if self._queue.rows + self._promised_rows + rows > self.max_queue_size or self._held_bytes + nbytes > self.max_queue_bytes:
            raise QueueFull(self.name, self.retry_after_s())
        room.rows, room.nbytes = all_rows, all_bytes
        self._promised_rows += rows
        self._held_bytes += nbytes

    def _dispatch(self) -> None:
        """Start as many batches as there are idle instances and due rows, and come back when the next one is due."""
        while len(self._running) < self.instances and (batch := self._queue.take(self._delay_s)):
            stopper, rows, now = Stopper(), [queued.row for queued in batch], time.monotonic()
            for queued in batch:
                queued.request.begin(now)
            task = asyncio.get_running_loop().create_task(self._run(batch, rows, stopper), context=Context())  # of no one request
            self._running[task] = batch, stopper
            task.add_done_callback(self._finished)
        if self._delay_s and len(self._running) < self.instances and (wait_s := self._queue.due_in_s(self._delay_s)) < math.inf:
            self._wake_in(wait_s)

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._dispatch()
        self._update_idle()

    def _update_idle(self) -> None:
        if self._accepted or self._running:
            self._idle.clear()
        else:
            self._idle.set()

    def _stop_unwanted(self) -> None:
        """Stop the runs that nobody waits for any more."""
        now = time.monotonic()
        for batch, stopper in self._running.values():
            if not any(queued.request.wants_answer(now) for queued in batch):
                stopper.stop()

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._dispatch)

    async def _run(self, batch: list[QueuedRow], rows: list[Row], stopper: Stopper) -> None:
        """Run one batch; its outputs, or its error, reach exactly its own callers."""
        started = time.monotonic()
        try:
            outputs = await asyncio.get_running_loop().run_in_executor(self._executor, self._run_batch, rows, stopper)
            if len(outputs) != len(batch):
                raise RuntimeError(f"{self.name!r} gave {len(outputs)} outputs for {len(batch)} rows")
        except Exception as error:
            stopper.stop()  # a run that was given up may still go on
            for queued in batch:
                queued.request.fail(error)
            self._observe_failure(error)
            return
        run_s = time.monotonic() - started
        self._row_s += SMOOTHING * (run_s / len(batch) - self._row_s)
        self._observe(BatchTiming(len(batch), started - batch[0].request.enqueued_at, run_s))
        for queued, output in zip(batch, outputs, strict=True):
            queued.request.fill(queued.index, output)


async def until(deadline: float | None, answer: asyncio.Future[Answer]) -> Answer:
    """Wait for the answer, but not past the deadline: work that has begun is then left behind, the rest is cancelled."""
    if deadline is None:
        return await answer
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            return await answer
    except TimeoutError:
        raise DeadlineExceeded from None
