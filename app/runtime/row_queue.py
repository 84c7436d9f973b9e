"""What waits for a run: the rows of many requests, those of one bucket behind each other, the longest wait in front.

Rows of different buckets (another shape, another length class) never share a batch. One thread only: no locks.
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


class QueuedRequest:
    """A caller that waits for all of its rows."""

    __slots__ = ("_left", "_outputs", "deadline", "enqueued_at", "future", "rows", "started_at")

    def __init__(self, rows: Sequence[Row], deadline: float | None, future: asyncio.Future[list[Output]]) -> None:
        self.rows: Sequence[Row] = rows
        self.deadline = deadline
        self.future = future
        self.enqueued_at = time.monotonic()
        self.started_at = math.inf  # its first run
        self._outputs: list[Output] = [None] * len(rows)
        self._left = len(rows)

    def wants_answer(self, now: float) -> bool:
        """False once the caller has left, was failed, or is out of time; an expired caller is told so here."""
        if not self.future.done() and self.deadline is not None and now >= self.deadline:
            self.future.set_exception(DeadlineExceeded())
        return not self.future.done()

    def begin(self, now: float) -> None:
        self.started_at = min(self.started_at, now)

    def fill(self, index: int, output: Output) -> None:
        self._outputs[index] = output
        self._left -= 1
        if self._left == 0 and not self.future.done():
            self.future.set_result(self._outputs)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)

    def forget_rows(self) -> None:
        """Nobody waits for them any more: their memory is free before the queue comes to them."""
        self.rows = ()


@dataclass(frozen=True, slots=True)
class QueuedRow:
    request: QueuedRequest
    index: int

    @property
    def row(self) -> Row:
        return self.request.rows[self.index]


class RowQueue:
    """Hands out batches of at most `max_batch_size` rows and `max_batch_pixels`; a row with more pixels goes alone."""

    def __init__(
        self,
        max_batch_size: int,
        bucket_of: Callable[[Row], Hashable] = lambda row: None,
        max_batch_pixels: float = math.inf,
        pixels_of: Callable[[Row], int] = lambda row: 0,
    ) -> None:
        self.rows = 0
        self._max_batch_size = max_batch_size
        self._bucket_of = bucket_of
        self._max_batch_pixels = max_batch_pixels
        self._pixels_of = pixels_of
        self._buckets: dict[Hashable, deque[QueuedRow]] = {}

    def put(self, request: QueuedRequest) -> None:
        for index, row in enumerate(request.rows):
            self._buckets.setdefault(self._bucket_of(row), deque()).append(QueuedRow(request, index))
        self.rows += len(request.rows)

    def due_in_s(self, delay_s: float) -> float:
        """Seconds until there is a batch to take: 0 if there is one, infinity if nothing waits."""
        if not self._buckets:
            return math.inf
        if self._due_buckets(delay_s):
            return 0.0
        return max(0.0, self._enqueued_at(self._oldest_bucket()) + delay_s - time.monotonic())

    def take(self, delay_s: float) -> list[QueuedRow]:
        """A batch of the bucket whose first row has waited longest; before its delay is over, of one that fills a batch.

        Rows that nobody waits for any more are dropped on the way. Empty if nothing is due.
        """
        while due := self._due_buckets(delay_s):
            if batch := self._take_from(due[0]):
                return batch
        return []

    def drop_unwanted(self) -> None:
        """Rows of callers that left or expired make room for new ones."""
        now = time.monotonic()
        for bucket, rows in list(self._buckets.items()):
            kept = deque(queued for queued in rows if queued.request.wants_answer(now))
            self.rows -= len(rows) - len(kept)
            self._keep(bucket, kept)

    def clear(self) -> list[QueuedRow]:
        """Take everything out."""
        rows = [queued for bucket in self._buckets.values() for queued in bucket]
        self._buckets.clear()
        self.rows = 0
        return rows

    def _due_buckets(self, delay_s: float) -> list[Hashable]:
        """The one to take from first; empty if none is due."""
        if not self._buckets:
            return []
        oldest = self._oldest_bucket()
        if delay_s == 0 or self._enqueued_at(oldest) + delay_s <= time.monotonic():
            return [oldest]
        return [bucket for bucket, rows in self._buckets.items() if len(rows) >= self._max_batch_size]

    def _oldest_bucket(self) -> Hashable:
        return min(self._buckets, key=self._enqueued_at)

    def _enqueued_at(self, bucket: Hashable) -> float:
        return self._buckets[bucket][0].request.enqueued_at

    def _take_from(self, bucket: Hashable) -> list[QueuedRow]:
        now, rows = time.monotonic(), self._buckets[bucket]
        batch: list[QueuedRow] = []
        pixels = 0
        while rows and len(batch) < self._max_batch_size:
            if rows[0].request.wants_answer(now):
                pixels += self._pixels_of(rows[0].row)
                if batch and pixels > self._max_batch_pixels:
                    break
                batch.append(rows[0])
            rows.popleft()
            self.rows -= 1
        self._keep(bucket, rows)
        return batch

    def _keep(self, bucket: Hashable, rows: deque[QueuedRow]) -> None:
        if rows:
            self._buckets[bucket] = rows
        else:
            del self._buckets[bucket]
