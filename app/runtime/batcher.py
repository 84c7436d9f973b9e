"""Dynamic batching with Triton's semantics: a batch is what queued while the instances were busy.

With a delay of 0 no request ever waits while an instance is idle. With a delay, a batch goes when it is full, or
when its oldest row has waited `max_queue_delay_us`. Rows are counted, not requests; a request larger than a
batch is split; rows of different buckets (another shape, another length class) never share a batch.

Everything but the run itself happens on the event loop, so there are no locks.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from app.errors import DeadlineExceeded, InputTooLarge, ModelNotReady, QueueFull

Row = Any
Output = Any
Answer = TypeVar("Answer")
RunBatch = Callable[[list[Row]], list[Output]]

MAX_RETRY_AFTER_S = 120
FIRST_GUESS_ROW_S = 0.01  # service time before anything was measured
SMOOTHING = 0.2  # weight of the newest batch in the measured service time


class _Request:
    """A caller that waits for all of its rows."""

    __slots__ = ("deadline", "future", "left", "outputs")

    def __init__(self, size: int, deadline: float | None, future: asyncio.Future[list[Output]]) -> None:
        self.outputs: list[Output] = [None] * size
        self.left = size
        self.deadline = deadline
        self.future = future

    def wants_answer(self, now: float) -> bool:
        """False once the caller has left, was failed, or is out of time; an expired caller is told so here."""
        if not self.future.done() and self.deadline is not None and now >= self.deadline:
            self.future.set_exception(DeadlineExceeded())
        return not self.future.done()

    def fill(self, index: int, output: Output) -> None:
        self.outputs[index] = output
        self.left -= 1
        if self.left == 0 and not self.future.done():
            self.future.set_result(self.outputs)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(frozen=True, slots=True)
class _QueuedRow:
    request: _Request
    index: int
    row: Row
    enqueued_at: float


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """What one batch cost, in seconds; handed to the observer after each run."""

    size: int
    oldest_wait_s: float
    run_s: float


class DynamicBatcher:
    """Groups rows of concurrent requests into runs.

    `run_batch` takes at most `max_batch_size` rows and gives as many outputs; it is called in `executor`, at most
    `instances` at a time. At most `max_queue_size` rows wait: beyond, QueueFull at once. Where rows differ in size,
    `pixels_of` says it: those of a batch have at most `max_batch_pixels` together, and a larger row runs alone.
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
        max_batch_pixels: int | None = None,
        bucket_of: Callable[[Row], Hashable] = lambda row: None,
        pixels_of: Callable[[Row], int] = lambda row: 0,
        observe: Callable[[BatchTiming], None] = lambda timing: None,
    ) -> None:
        self.name = name
        self.instances = instances
        self.max_batch_size = max_batch_size
        self.max_queue_size = max_queue_size
        self._delay_s = max_queue_delay_us / 1e6
        self._run_batch = run_batch
        self._executor = executor
        self._max_batch_pixels = math.inf if max_batch_pixels is None else max_batch_pixels
        self._bucket_of = bucket_of
        self._pixels_of = pixels_of
        self._observe = observe
        self._queues: OrderedDict[Hashable, deque[_QueuedRow]] = OrderedDict()
        self._queued = 0
        self._running: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._accepting = True
        self._closed = False
        self._idle = asyncio.Event()  # nothing queued, nothing running
        self._row_s = FIRST_GUESS_ROW_S

    @property
    def queued_rows(self) -> int:
        return self._queued

    def retry_after_s(self, promised: int = 0) -> int:
        """Whole seconds until the queue, and what is promised to it, is done at the measured pace; between 1 and 120."""
        seconds = (self._queued + promised) * self._row_s / self.instances
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(seconds)))

    def check_room(self, rows: int = 1, promised: int = 0) -> None:
        """Refuse before any work is done on a request that could not be queued; `promised` rows of others come first.

        Raises QueueFull, ModelNotReady, and InputTooLarge for a request that would not fit an empty queue either.
        """
        if not self._accepting:
            raise ModelNotReady(f"{self.name!r} is shutting down; send the request to another instance")
        if rows > self.max_queue_size:
            raise InputTooLarge(f"the request needs {rows:,} runs at once, the queue of {self.name!r} takes {self.max_queue_size:,}")
        if self._queued + promised + rows > self.max_queue_size:
            self._drop_unwanted()
            if self._queued + promised + rows > self.max_queue_size:
                raise QueueFull(self.name, self.retry_after_s(promised))

    async def submit(self, rows: Sequence[Row], deadline: float | None = None) -> list[Output]:
        """One output a row, in order. `deadline` is a time.monotonic() instant; expired rows never run.

        Cancelling the caller drops its rows that have not started. Raises as `check_room` does,
        DeadlineExceeded, or what the run itself raised.
        """
        if not rows:
            return []
        self.check_room(len(rows))
        request = _Request(len(rows), deadline, asyncio.get_running_loop().create_future())
        now = time.monotonic()
        for index, row in enumerate(rows):
            self._queues.setdefault(self._bucket_of(row), deque()).append(_QueuedRow(request, index, row, now))
        self._queued += len(rows)
        self._dispatch()
        return await until(deadline, request.future)

    def stop_accepting(self) -> None:
        """From now on new work is refused; what was accepted still runs."""
        self._accepting = False

    async def drain(self, grace_s: float) -> None:
        """Refuse new work, finish what was accepted, and fail what is left after `grace_s` seconds."""
        self.stop_accepting()
        self._delay_s = 0.0
        self._dispatch()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_s)
        self._closed = True
        for queue in self._queues.values():
            for queued in queue:
                queued.request.fail(self._shut_down())
        self._queues.clear()
        self._queued = 0

    def check_open(self) -> None:
        """Raises ModelNotReady once a drain's grace is over: what is still being prepared will not run."""
        if self._closed:
            raise self._shut_down()

    def _shut_down(self) -> ModelNotReady:
        return ModelNotReady(f"{self.name!r} shut down before the request could run")

    def _dispatch(self) -> None:
        """Start as many batches as there are idle instances and due rows."""
        while len(self._running) < self.instances and (batch := self._next_batch()):
            task = asyncio.get_running_loop().create_task(self._run(batch))
            self._running.add(task)
            task.add_done_callback(self._finished)
        if self._running or self._queued:
            self._idle.clear()
        else:
            self._idle.set()

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._dispatch()

    def _next_batch(self) -> list[_QueuedRow]:
        """The rows of the bucket whose first row has waited longest, if they are due."""
        while self._queues:
            bucket = min(self._queues, key=lambda key: self._queues[key][0].enqueued_at)
            queue = self._queues[bucket]
            wait_s = queue[0].enqueued_at + self._delay_s - time.monotonic()
            if self._delay_s and wait_s > 0 and len(queue) < self.max_batch_size:
                full = next((key for key, rows in self._queues.items() if len(rows) >= self.max_batch_size), None)
                if full is None:
                    self._wake_in(wait_s)
                    return []
                bucket, queue = full, self._queues[full]
            batch = self._take(queue)
            if not queue:
                del self._queues[bucket]
            if batch:
                return batch
        return []

    def _take(self, queue: deque[_QueuedRow]) -> list[_QueuedRow]:
        now = time.monotonic()
        batch: list[_QueuedRow] = []
        pixels = 0
        while queue and len(batch) < self.max_batch_size:
            pixels += self._pixels_of(queue[0].row)
            if batch and pixels > self._max_batch_pixels:
                break
            queued = queue.popleft()
            self._queued -= 1
            if queued.request.wants_answer(now):
                batch.append(queued)
        return batch

    def _drop_unwanted(self) -> None:
        """Rows of callers that left or expired make room for new ones."""
        now = time.monotonic()
        for bucket, queue in list(self._queues.items()):
            kept = deque(queued for queued in queue if queued.request.wants_answer(now))
            self._queued -= len(queue) - len(kept)
            if kept:
                self._queues[bucket] = kept
            else:
                del self._queues[bucket]

    def _wake_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._dispatch)

    async def _run(self, batch: list[_QueuedRow]) -> None:
        """Run one batch; its outputs, or its error, reach exactly its own callers."""
        started = time.monotonic()
        loop = asyncio.get_running_loop()
        try:
            outputs = await loop.run_in_executor(self._executor, self._run_batch, [queued.row for queued in batch])
            if len(outputs) != len(batch):
                raise RuntimeError(f"{self.name!r} gave {len(outputs)} outputs for {len(batch)} rows")
        except Exception as error:
            for queued in batch:
                queued.request.fail(error)
            return
        run_s = time.monotonic() - started
        self._row_s += SMOOTHING * (run_s / len(batch) - self._row_s)
        self._observe(BatchTiming(len(batch), started - batch[0].enqueued_at, run_s))
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
