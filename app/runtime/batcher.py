"""Dynamic batching with Triton's semantics: a batch is what queued while the instances were busy.

With a delay of 0 no request ever waits while an instance is idle. With a delay, a batch goes when it is full, or
when its oldest row has waited `max_queue_delay_us`. Rows are counted, not requests; a request larger than a
batch is split; rows of different buckets (another shape, another length class) never share a batch.

Callers live on the event loop, and their futures are set nowhere else. The queue is shared with the executor's threads,
under one lock: a thread that has prepared a request puts its rows there, and a thread that has finished a run takes
the next batch. So a core never waits for the loop, and a request costs the loop two visits: it comes, it is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

from app.errors import DeadlineExceeded, InputTooLarge, ModelNotReady, QueueFull
from app.runtime.row_queue import Output, QueuedRow, Request, Row, RowQueue

RunBatch = Callable[[list[Row]], list[Output]]
Prepare = Callable[[], Sequence[Row]]

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


class DynamicBatcher:
    """Groups rows of concurrent requests into runs.

    `run_batch` takes at most `max_batch_size` rows and gives as many outputs; it is called in `executor`, at most
    `instances` at a time. At most `max_queue_size` rows and `max_queue_bytes` wait: beyond, QueueFull at once.
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
        bucket_of: Callable[[Row], Hashable] = lambda row: None,
        nbytes_of: Callable[[Row], int] = lambda row: 0,
        observe: Callable[[BatchTiming], None] = lambda timing: None,
    ) -> None:
        self.name = name
        self.instances = instances
        self._delay_s = max_queue_delay_us / 1e6
        self._run_batch = run_batch
        self._executor = executor
        self._observe = observe
        self._lock = threading.Lock()  # for the queue and the count of busy instances
        self._queue = RowQueue(max_queue_size, max_queue_bytes, max_batch_size, bucket_of, nbytes_of)
        self._busy = 0  # instances that run, or are about to
        self._loop: asyncio.AbstractEventLoop  # where the callers are: known when the first one comes
        self._timer: asyncio.TimerHandle | None = None
        self._accepting = True
        self._closed = False
        self._idle = asyncio.Event()  # nothing prepared, nothing queued, nothing running
        self._row_s = FIRST_GUESS_ROW_S

    @property
    def queued_rows(self) -> int:
        return self._queue.rows

    def retry_after_s(self) -> int:
        """Whole seconds until the queue, and what is promised to it, is done at the measured pace; between 1 and 120."""
        seconds = (self._queue.rows + self._queue.promised_rows) * self._row_s / self.instances
        return max(1, min(MAX_RETRY_AFTER_S, math.ceil(seconds)))

    async def submit(self, rows: Sequence[Row], deadline: float | None = None) -> list[Output]:
        """One output a row, in order. `deadline` is a time.monotonic() instant; expired rows never run.

        Cancelling the caller drops its rows that have not started. Raises QueueFull, ModelNotReady, DeadlineExceeded,
        InputTooLarge for a request that would not fit an empty queue either, or what the run itself raised.
        """
        if not rows:
            return []
        request = self._admit(deadline)
        with self._lock:
            self._put(request, rows)
        self._dispatch()
        return await _answer(request)

    async def submit_unprepared(self, prepare: Prepare, items: int, nbytes: int, deadline: float | None = None) -> list[Output]:
        """As `submit`, for rows that `prepare` makes in the executor. Until they are there, `items` and `nbytes` stand for them.

        Refused before any work is done if there is no room for so many; raises what `prepare` raises as well.
        """
        request = self._admit(deadline)
        with self._lock:
            self._check_room(items, nbytes)
            self._queue.promise(items, nbytes)
        self._executor.submit(self._prepare, request, prepare, items, nbytes)
        return await _answer(request)

    def stop_accepting(self) -> None:
        """From now on new work is refused; what was accepted still runs."""
        self._accepting = False

    async def drain(self, grace_s: float) -> None:
        """Refuse new work, finish what was accepted, and fail what is left after `grace_s` seconds."""
        self.stop_accepting()
        self._delay_s = 0.0
        self._dispatch()
        self._update_idle()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), grace_s)
        self._closed = True
        with self._lock:
            left = self._queue.clear()
        for queued in left:
            queued.request.fail(self._shut_down())

    def check_open(self) -> None:
        """Raises ModelNotReady once a drain's grace is over: what is still being prepared will not run."""
        if self._closed:
            raise self._shut_down()

    def _shut_down(self) -> ModelNotReady:
        return ModelNotReady(f"{self.name!r} shut down before the request could run")

    def _admit(self, deadline: float | None) -> Request:
        if not self._accepting:
            raise ModelNotReady(f"{self.name!r} is shutting down; send the request to another instance")
        if deadline is not None and deadline <= time.monotonic():
            raise DeadlineExceeded
        self._loop = asyncio.get_running_loop()
        return Request(deadline, self._loop.create_future())

    def _check_room(self, rows: int, nbytes: int) -> None:
        """The lock is held. Raises QueueFull, or InputTooLarge for what would not fit an empty queue either."""
        if rows > self._queue.max_rows:
            raise InputTooLarge(f"the request needs {rows:,} runs at once, the queue of {self.name!r} takes {self._queue.max_rows:,}")
        if nbytes > self._queue.max_bytes:
            raise InputTooLarge(f"the request takes {nbytes:,} bytes, the queue of {self.name!r} takes {self._queue.max_bytes:,}")
        if not self._queue.has_room(rows, nbytes):
            raise QueueFull(self.name, self.retry_after_s())

    def _put(self, request: Request, rows: Sequence[Row]) -> None:
        """The lock is held. Raises as `_check_room` does, for an item may have made many rows, and as `check_open`."""
        self.check_open()
        queued = self._queue.queued(request, rows)
        self._check_room(len(queued), sum(row.nbytes for row in queued))
        self._queue.put(request, queued)

    def _reserve(self) -> bool:
        """The lock is held. An idle instance for a batch that is due: who gets True sees to it that `_work` is called."""
        if self._busy >= self.instances or self._queue.due_in_s(self._delay_s) > 0:
            return False
        self._busy += 1
        return True

    def _dispatch(self) -> None:
        """On the loop: start what is due, and come back when the next batch will be."""
        with self._lock:
            while self._reserve():
                self._executor.submit(self._work, self._queue.take(self._delay_s))
            wait_s = self._queue.due_in_s(self._delay_s)
        if self._timer is not None:
            self._timer.cancel()
        if 0 < wait_s < math.inf:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._dispatch)

    def _prepare(self, request: Request, prepare: Prepare, items: int, nbytes: int) -> None:
        """In a thread: a request's rows into the queue. The batch is run here as well, unless others are about to join it."""
        rows, failure = _attempt(prepare) if request.is_wanted() else ([], DeadlineExceeded())
        with self._lock:
            self._queue.promise(-items, -nbytes)
            if rows and not failure:
                _, failure = _attempt(lambda: self._put(request, rows))
            joining, reserved = self._queue.promised_rows, self._reserve()
        if failure or not rows:
            self._loop.call_soon_threadsafe(self._settle, request, failure)
        if reserved and not joining:
            self._work()
        elif reserved:
            self._executor.submit(self._work)
        elif self._delay_s:
            self._loop.call_soon_threadsafe(self._dispatch)

    def _settle(self, request: Request, failure: BaseException | None) -> None:
        """On the loop: a request that goes without a run, for it failed or has no rows."""
        if failure:
            request.fail(failure)
        else:
            request.finish()
        self._update_idle()

    def _work(self, batch: list[QueuedRow] | None = None) -> None:
        """In a thread, an instance reserved: run a batch, hand it over, and line up again if more is due.

        To line up, not to go on at once, gives pictures that wait to be decoded, and other models, their turn.
        """
        if batch is None:
            with self._lock:
                batch = self._queue.take(self._delay_s)
        started = time.monotonic()
        outputs, failure = _attempt(lambda: self._run(batch)) if batch else ([], None)
        run_s = time.monotonic() - started
        with self._lock:
            self._busy -= 1
            again = self._reserve()
        self._loop.call_soon_threadsafe(self._deliver, batch, outputs, failure, started, run_s)
        if again:
            self._executor.submit(self._work)

    def _run(self, batch: list[QueuedRow]) -> list[Output]:
        outputs = self._run_batch([queued.row for queued in batch])
        if len(outputs) != len(batch):
            raise RuntimeError(f"{self.name!r} gave {len(outputs)} outputs for {len(batch)} rows")
        return outputs

    def _deliver(
        self, batch: list[QueuedRow], outputs: Sequence[Output], failure: BaseException | None, started: float, run_s: float
    ) -> None:
        """On the loop: a batch's outputs, or its error, to exactly its own callers."""
        if failure:
            for queued in batch:
                queued.request.fail(failure)
        elif batch:
            self._row_s += SMOOTHING * (run_s / len(batch) - self._row_s)
            self._observe(BatchTiming(len(batch), started - batch[0].enqueued_at, run_s))
            for queued, output in zip(batch, outputs, strict=True):
                queued.request.fill(queued.index, output)
        if self._delay_s:
            self._dispatch()
        self._update_idle()

    def _update_idle(self) -> None:
        if self._busy or self._queue.rows or self._queue.promised_rows:
            self._idle.clear()
        else:
            self._idle.set()


def _attempt(work: Callable[[], Sequence[Output] | None]) -> tuple[Sequence[Output], BaseException | None]:
    """What `work` gave, and what it raised. In a thread nobody else would hear of it."""
    try:
        return work() or [], None
    except BaseException as error:
        return [], error


async def _answer(request: Request) -> list[Output]:
    """Wait for the outputs, but not past the deadline: work that has begun is then left behind, the rest is dropped."""
    if request.deadline is None:
        return await request.future
    timer = asyncio.get_running_loop().call_later(request.deadline - time.monotonic(), request.expire)
    try:
        return await request.future
    finally:
        timer.cancel()
