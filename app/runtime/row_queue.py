"""Rows that wait for a run: in buckets, bounded in rows and bytes, the longest wait first.

A plain structure. Its owner holds a lock around every call, and nothing in here waits.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import DeadlineExceeded

Row = Any
Output = Any


class Request:
    """A caller that waits for all of its rows. Its future belongs to the event loop; other threads only ask `is_wanted`."""

    __slots__ = ("_left", "_outputs", "deadline", "future")

    def __init__(self, deadline: float | None, future: asyncio.Future[list[Output]]) -> None:
        self.deadline = deadline
        self.future = future
        self._outputs: list[Output] = []
        self._left = 0

    def is_wanted(self) -> bool:
        """False once the caller has left, was failed, or is out of time."""
        return not self.future.done() and (self.deadline is None or time.monotonic() < self.deadline)

    def expect(self, rows: int) -> None:
        self._outputs = [None] * rows
        self._left = rows

    def fill(self, index: int, output: Output) -> None:
        self._outputs[index] = output
        self._left -= 1
        if self._left == 0:
            self.finish()

    def finish(self) -> None:
        if not self.future.done():
            self.future.set_result(self._outputs)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def expire(self) -> None:
        self.fail(DeadlineExceeded())


@dataclass(frozen=True, slots=True)
class QueuedRow:
    request: Request
    index: int
    row: Row
    bucket: Hashable
    nbytes: int
    enqueued_at: float


class RowQueue:
    """At most `max_rows` and `max_bytes`, what is promised to the queue counted. Rows of different buckets never share a batch."""

    def __init__(
        self, max_rows: int, max_bytes: int, max_batch_size: int, bucket_of: Callable[[Row], Hashable], nbytes_of: Callable[[Row], int]
    ) -> None:
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        self.rows = 0
        self.promised_rows = 0  # of requests that are being prepared
        self._bytes = 0
        self._promised_bytes = 0
        self._max_batch_size = max_batch_size
        self._bucket_of = bucket_of
        self._nbytes_of = nbytes_of
        self._buckets: dict[Hashable, deque[QueuedRow]] = {}

    def queued(self, request: Request, rows: Sequence[Row]) -> list[QueuedRow]:
        """A request's rows, as they are put into the queue."""
        now = time.monotonic()
        return [QueuedRow(request, index, row, self._bucket_of(row), self._nbytes_of(row), now) for index, row in enumerate(rows)]

    def has_room(self, rows: int, nbytes: int) -> bool:
        """Rows of callers that left or expired make room for new ones."""
        if not self._fits(rows, nbytes):
            for queued in self.clear():
                if queued.request.is_wanted():
                    self._add(queued)
        return self._fits(rows, nbytes)

    def promise(self, rows: int, nbytes: int) -> None:
        """Hold room for a request that is being prepared; the same with a minus takes it back."""
        self.promised_rows += rows
        self._promised_bytes += nbytes

    def put(self, request: Request, rows: Sequence[QueuedRow]) -> None:
        request.expect(len(rows))
        for queued in rows:
            self._add(queued)

    def due_in_s(self, delay_s: float) -> float:
        """Seconds until there is a batch to take: 0 if there is one, infinity if nothing waits."""
        if not self._buckets:
            return math.inf
        if delay_s == 0 or self._oldest_first(full=True):
            return 0.0
        return max(0.0, self._due_at(self._oldest_first()[0], delay_s) - time.monotonic())

    def take(self, delay_s: float) -> list[QueuedRow]:
        """A batch of the bucket whose first row has waited longest; before its delay is over, of one that fills a batch.

        Rows that nobody waits for any more are dropped on the way. Empty if nothing is due.
        """
        while buckets := self._oldest_first():
            if delay_s and self._due_at(buckets[0], delay_s) > time.monotonic():
                buckets = self._oldest_first(full=True)
            if not buckets:
                break
            if batch := self._take_from(buckets[0]):
                return batch
        return []

    def clear(self) -> list[QueuedRow]:
        """Take everything out."""
        rows = [queued for bucket in self._buckets.values() for queued in bucket]
        self._buckets.clear()
        self.rows = self._bytes = 0
        return rows

    def _fits(self, rows: int, nbytes: int) -> bool:
        all_rows, all_bytes = self.rows + self.promised_rows + rows, self._bytes + self._promised_bytes + nbytes
        return all_rows <= self.max_rows and all_bytes <= self.max_bytes

    def _add(self, queued: QueuedRow) -> None:
        self._buckets.setdefault(queued.bucket, deque()).append(queued)
        self.rows += 1
        self._bytes += queued.nbytes

    def _oldest_first(self, full: bool = False) -> list[Hashable]:
        """The buckets, the one whose first row has waited longest in front; if asked, only those that fill a batch."""
        buckets = [bucket for bucket, rows in self._buckets.items() if not full or len(rows) >= self._max_batch_size]
        return sorted(buckets, key=lambda bucket: self._buckets[bucket][0].enqueued_at)

    def _due_at(self, bucket: Hashable, delay_s: float) -> float:
        return self._buckets[bucket][0].enqueued_at + delay_s

    def _take_from(self, bucket: Hashable) -> list[QueuedRow]:
        rows = self._buckets[bucket]
        batch: list[QueuedRow] = []
        while rows and len(batch) < self._max_batch_size:
            queued = rows.popleft()
            self.rows -= 1
            self._bytes -= queued.nbytes
            if queued.request.is_wanted():
                batch.append(queued)
        if not rows:
            del self._buckets[bucket]
        return batch
