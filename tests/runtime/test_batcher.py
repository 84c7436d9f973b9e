"""DynamicBatcher, on runs that the test holds in its hand: a run goes on until the test lets it go."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.errors import DeadlineExceeded, InputTooLarge, ModelNotReady, QueueFull
from app.runtime.batcher import BatchTiming, DynamicBatcher, RequestTiming
from app.runtime.session import RunStopped, Stopper

pytestmark = pytest.mark.anyio


class Runs:
    """Answers each row with its double. Records the batches; blocks while `gate` is closed; fails on the row "bad"."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.stoppers: list[Stopper] = []
        self.gate = threading.Event()
        self.gate.set()
        self.pause_s = 0.0
        self.most_at_once = 0
        self._running = 0
        self._lock = threading.Lock()

    def __call__(self, rows: list[Any], stopper: Stopper) -> list[Any]:
        with self._lock:
            self.batches.append(list(rows))
            self.stoppers.append(stopper)
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
        time.sleep(self.pause_s)
        assert self.gate.wait(10)
        with self._lock:
            self._running -= 1
        if "bad" in rows:
            raise RuntimeError("a bad row")
        return [row * 2 for row in rows]


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as executor:
        yield executor


@pytest.fixture
def runs() -> Iterator[Runs]:
    runs = Runs()
    yield runs
    runs.gate.set()


def make_batcher(runs: Runs, executor: ThreadPoolExecutor, **options: Any) -> DynamicBatcher:
    return DynamicBatcher("toy", runs, executor, **({"instances": 1, "max_batch_size": 4} | options))


async def submitted(batcher: DynamicBatcher, *requests: list[Any], **options: Any) -> list[asyncio.Task[list[Any]]]:
    """One task a request, all of them in the queue or running."""
    tasks = [asyncio.ensure_future(batcher.submit(rows, **options)) for rows in requests]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def until_running(runs: Runs, batches: int) -> None:
    async with asyncio.timeout(5):
        while len(runs.batches) < batches:  # noqa: ASYNC110 - the runs are in other threads
            await asyncio.sleep(0.001)


async def test_each_request_gets_the_answers_of_its_own_rows_in_order(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor)
    answers = await asyncio.gather(*(batcher.submit([number, number + 100]) for number in range(30)))
    assert answers == [[2 * number, 2 * number + 200] for number in range(30)]


async def test_a_request_without_rows_is_answered_without_a_run(runs: Runs, executor: ThreadPoolExecutor) -> None:
    assert await make_batcher(runs, executor).submit([]) == []
    assert runs.batches == []


async def test_a_batch_is_what_queued_while_the_instance_was_busy(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor)
    runs.gate.clear()
    tasks = await submitted(batcher, [1], [2], [3], [4])
    await until_running(runs, 1)
    assert batcher.queued_rows == 3
    runs.gate.set()
    assert await asyncio.gather(*tasks) == [[2], [4], [6], [8]]
    assert runs.batches == [[1], [2, 3, 4]]


async def test_a_batch_holds_no_more_pixels_than_its_budget(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_batch_pixels=10, pixels_of=lambda row: row)
    answers = await asyncio.gather(batcher.submit([4, 4, 2, 9, 1, 1]), batcher.submit([3, 3, 3, 1, 50, 1]))
    assert answers == [[8, 8, 4, 18, 2, 2], [6, 6, 6, 2, 100, 2]]
    assert runs.batches == [[4, 4, 2], [9, 1], [1, 3, 3, 3], [1], [50], [1]]  # and no more rows than four


async def test_without_a_delay_nobody_waits_while_an_instance_is_idle(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, instances=2)
    runs.gate.clear()
    tasks = await submitted(batcher, [1], [2])
    await until_running(runs, 2)
    assert sorted(runs.batches) == [[1], [2]]
    runs.gate.set()
    await asyncio.gather(*tasks)


async def test_no_more_runs_at_once_than_instances(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, instances=2, max_batch_size=1)
    runs.pause_s = 0.002
    await asyncio.gather(*(batcher.submit([number]) for number in range(40)))
    assert len(runs.batches) == 40
    assert runs.most_at_once == 2


async def test_rows_are_counted_not_requests(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_batch_size=4)
    runs.gate.clear()
    tasks = await submitted(batcher, [0], [1, 2, 3], [4, 5, 6])
    runs.gate.set()
    await asyncio.gather(*tasks)
    assert runs.batches == [[0], [1, 2, 3, 4], [5, 6]]


async def test_a_request_larger_than_a_batch_is_split_and_put_together_again(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_batch_size=4)
    assert await batcher.submit(list(range(10))) == [2 * number for number in range(10)]
    assert [len(batch) for batch in runs.batches] == [4, 4, 2]


async def test_buckets_never_mix_and_the_longest_wait_goes_first(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_batch_size=8, bucket_of=len)
    runs.gate.clear()
    tasks = await submitted(batcher, ["x"], ["aa"], ["b"], ["cc", "d"], ["ee"])
    runs.gate.set()
    await asyncio.gather(*tasks)
    assert runs.batches == [["x"], ["aa", "cc", "ee"], ["b", "d"]]


async def test_a_full_queue_refuses_instead_of_waiting(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_queue_size=3)
    runs.gate.clear()
    tasks = await submitted(batcher, [0], [1], [2, 3])
    started = time.monotonic()
    with pytest.raises(QueueFull) as caught:
        await batcher.submit([4])
    assert time.monotonic() - started < 0.5
    assert 1 <= caught.value.retry_after_s <= 120
    runs.gate.set()
    assert await asyncio.gather(*tasks) == [[0], [2], [4, 6]]
    assert await batcher.submit([5]) == [10]  # there is room again


async def test_a_request_that_no_empty_queue_could_hold_is_too_large(runs: Runs, executor: ThreadPoolExecutor) -> None:
    with pytest.raises(InputTooLarge, match="has 9 rows"):
        await make_batcher(runs, executor, max_queue_size=8).submit([1] * 9)


async def test_retry_after_is_the_depth_times_the_measured_pace(executor: ThreadPoolExecutor) -> None:
    took_s: list[float] = []

    def slow(rows: list[Any], stopper: Stopper) -> list[Any]:
        started = time.monotonic()
        time.sleep(0.05 * len(rows))
        took_s.append(time.monotonic() - started)
        return rows

    batcher = DynamicBatcher("toy", slow, executor, instances=1, max_batch_size=1, max_queue_size=10**7)
    for _ in range(20):
        await batcher.submit([0])
    tasks = await submitted(batcher, list(range(90)))
    assert 89 * min(took_s) - 1 <= batcher.retry_after_s() <= 89 * max(took_s) + 2  # 4.5 s, where nothing holds the machine up
    alone = batcher.retry_after_s()
    with batcher.room(90):  # what is being prepared comes first as well
        assert 2 * alone - 2 <= batcher.retry_after_s() <= 2 * alone + 2
    with batcher.room(10**6):
        assert batcher.retry_after_s() == 120
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_delay_waits_for_mates(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_queue_delay_us=1_500_000)
    tasks = await submitted(batcher, [1])
    await asyncio.sleep(0.02)
    assert runs.batches == []
    tasks += await submitted(batcher, [2])
    assert await asyncio.gather(*tasks) == [[2], [4]]
    assert runs.batches == [[1, 2]]


async def test_a_delay_ends_when_the_batch_is_full(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_queue_delay_us=60_000_000)
    async with asyncio.timeout(5):
        assert await batcher.submit([1, 2, 3, 4]) == [2, 4, 6, 8]


async def test_a_full_bucket_does_not_wait_behind_one_that_is_not(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_queue_delay_us=60_000_000, max_batch_size=2, bucket_of=len)
    (waiting,) = await submitted(batcher, ["a"])
    async with asyncio.timeout(5):
        assert await batcher.submit(["bb", "cc"]) == ["bbbb", "cccc"]
    assert not waiting.done()
    await batcher.drain(5)
    assert await waiting == ["aa"]


async def test_an_error_reaches_exactly_the_callers_of_its_batch(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_batch_size=2)
    runs.gate.clear()
    tasks = await submitted(batcher, ["x"], ["a"], ["bad"], ["c"], ["d"])
    runs.gate.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert runs.batches == [["x"], ["a", "bad"], ["c", "d"]]
    assert [isinstance(outcome, RuntimeError) for outcome in outcomes] == [False, True, True, False, False]
    assert await batcher.submit(["e"]) == ["ee"]  # the batcher goes on


async def test_a_run_with_too_few_outputs_is_an_error_not_a_hang(executor: ThreadPoolExecutor) -> None:
    batcher = DynamicBatcher("toy", lambda rows, stopper: rows[:-1], executor, instances=1, max_batch_size=4)
    async with asyncio.timeout(5):
        with pytest.raises(RuntimeError, match="gave 1 outputs for 2 rows"):
            await batcher.submit([1, 2])


async def test_the_rows_of_a_caller_who_left_never_run(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor)
    runs.gate.clear()
    first, leaver, stayer = await submitted(batcher, [1], [2], [3])
    leaver.cancel()
    await asyncio.sleep(0)
    runs.gate.set()
    assert await asyncio.gather(first, stayer) == [[2], [6]]
    assert runs.batches == [[1], [3]]


async def test_expired_rows_never_run_and_their_callers_hear_at_the_deadline(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor)
    runs.gate.clear()
    (first,) = await submitted(batcher, [1])
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await batcher.submit([2], deadline=started + 0.03)
    assert 0.02 < time.monotonic() - started < 2
    runs.gate.set()
    assert await first == [2]
    assert await batcher.submit([3]) == [6]
    assert runs.batches == [[1], [3]]


async def test_work_whose_deadline_has_passed_already_does_not_run(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor)
    with pytest.raises(DeadlineExceeded):
        await batcher.submit([1], deadline=time.monotonic() - 1)
    assert await batcher.submit([2], deadline=time.monotonic() + 60) == [4]
    assert runs.batches == [[2]]


async def test_those_who_left_or_expired_make_room_in_a_full_queue(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_queue_size=2)
    runs.gate.clear()
    first, leaver, other = await submitted(batcher, [1], [2], [3])
    leaver.cancel()
    await asyncio.sleep(0)
    (late,) = await submitted(batcher, [4])
    runs.gate.set()
    assert await asyncio.gather(first, other, late) == [[2], [6], [8]]


async def test_a_run_that_all_its_callers_left_is_stopped(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor)
    runs.gate.clear()
    first, one, other = await submitted(batcher, [1], [2], [3])
    runs.gate.set()
    await first
    runs.gate.clear()
    await until_running(runs, 2)
    one.cancel()
    await asyncio.sleep(0)
    assert not runs.stoppers[1].stopped  # the other still waits
    other.cancel()
    await asyncio.sleep(0)
    assert [stopper.stopped for stopper in runs.stoppers] == [False, True]
    runs.gate.set()


async def test_a_run_whose_callers_are_all_out_of_time_is_stopped(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor)
    runs.gate.clear()
    with pytest.raises(DeadlineExceeded):
        await batcher.submit([1], deadline=time.monotonic() + 0.5)
    assert runs.stoppers[0].stopped
    runs.gate.set()
    assert await batcher.submit([2]) == [4]


async def test_a_run_that_ends_because_it_was_stopped_is_nobodys_error(executor: ThreadPoolExecutor) -> None:
    failures: list[Exception] = []

    def until_stopped(rows: list[Any], stopper: Stopper) -> list[Any]:
        while "endless" in rows and not stopper.stopped:
            time.sleep(0.001)
        if stopper.stopped:
            raise RunStopped
        return rows

    batcher = DynamicBatcher("toy", until_stopped, executor, instances=1, max_batch_size=1, observe_failure=failures.append)
    (leaver,) = await submitted(batcher, ["endless"])
    await asyncio.sleep(0.01)
    leaver.cancel()
    async with asyncio.timeout(5):
        assert await batcher.submit(["short"]) == ["short"]
    assert [type(failure) for failure in failures] == [RunStopped]


async def test_the_queue_is_bounded_in_bytes_too(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_queue_bytes=100, nbytes_of=len)
    runs.gate.clear()
    tasks = await submitted(batcher, ["x" * 40], ["y" * 40])
    assert batcher.held_bytes == 80  # what runs is in memory as well
    with pytest.raises(QueueFull):
        await batcher.submit(["z" * 21])
    with pytest.raises(InputTooLarge, match="101 bytes"):
        await batcher.submit(["z" * 101])
    tasks += await submitted(batcher, ["z" * 20])
    runs.gate.set()
    await asyncio.gather(*tasks)
    assert batcher.held_bytes == 0


async def test_a_request_that_is_being_prepared_counts_with_its_body(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_queue_size=3, max_queue_bytes=100, nbytes_of=len)
    with batcher.room(1, 70) as room:
        with pytest.raises(QueueFull), batcher.room(1, 31):
            pass
        with pytest.raises(QueueFull), batcher.room(3, 0):
            pass
        assert await batcher.submit(["x" * 30], room=room) == ["x" * 60]
        with pytest.raises(InputTooLarge, match="holds 100"):
            await batcher.submit(["x" * 40], room=room)
        assert batcher.held_bytes == 100  # until it is answered: its body and its row are still there
    assert batcher.held_bytes == 0


async def test_an_item_that_made_many_rows_needs_room_for_all_of_them(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_queue_size=4)
    with batcher.room(1) as room, batcher.room(1):
        with pytest.raises(QueueFull):
            await batcher.submit([1, 2, 3, 4], room=room)
        assert await batcher.submit([1, 2, 3], room=room) == [2, 4, 6]


async def test_who_has_room_is_not_refused_by_those_who_come_later(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_queue_size=1)
    runs.gate.clear()
    (running,) = await submitted(batcher, [1])
    with batcher.room(1) as room:
        with pytest.raises(QueueFull):
            await batcher.submit([2])
        (accepted,) = await submitted(batcher, [3], room=room)
        runs.gate.set()
        assert await asyncio.gather(running, accepted) == [[2], [6]]


async def test_the_rows_of_a_caller_who_left_are_not_kept_in_memory(runs: Runs, executor: ThreadPoolExecutor) -> None:
    class Row:
        """Something that a weak reference can point to."""

    batcher, row = make_batcher(runs, executor), Row()
    runs.gate.clear()
    (running,) = await submitted(batcher, [1])
    (leaver,) = await submitted(batcher, [row])
    kept = weakref.ref(row)
    del row
    leaver.cancel()
    await asyncio.wait([leaver])
    del leaver
    gc.collect()
    assert kept() is None
    runs.gate.set()
    assert await running == [2]


async def test_a_drain_waits_for_what_is_still_being_prepared(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor)
    with batcher.room(1) as room:
        draining = asyncio.ensure_future(batcher.drain(10))
        await asyncio.sleep(0.01)
        assert not draining.done()
        assert await batcher.submit([1], room=room) == [2]
    await draining


async def test_a_drain_finishes_what_was_accepted_and_refuses_what_is_new(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor, max_queue_delay_us=60_000_000)
    runs.gate.clear()
    tasks = await submitted(batcher, [1, 2, 3, 4], [5])
    draining = asyncio.ensure_future(batcher.drain(10))
    await asyncio.sleep(0.01)
    with pytest.raises(ModelNotReady, match="shutting down"):
        await batcher.submit([6])
    runs.gate.set()
    await draining
    assert await asyncio.gather(*tasks) == [[2, 4, 6, 8], [10]]


async def test_a_drain_fails_what_is_left_after_its_grace(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor)
    runs.gate.clear()
    running, queued = await submitted(batcher, [1], [2])
    await until_running(runs, 1)
    await batcher.drain(0.02)
    for request in (running, queued):
        with pytest.raises(ModelNotReady, match="shut down before the request was answered"):
            await request
    assert [stopper.stopped for stopper in runs.stoppers] == [True]
    runs.gate.set()
    assert runs.batches == [[1]]


async def test_a_drain_of_an_idle_batcher_is_over_at_once(runs: Runs, executor: ThreadPoolExecutor) -> None:
    batcher = make_batcher(runs, executor)
    async with asyncio.timeout(1):
        await batcher.drain(60)
    used = make_batcher(runs, executor)
    await used.submit([1])
    async with asyncio.timeout(1):
        await used.drain(60)


async def test_the_observer_of_requests_sees_wait_and_run_of_each_that_succeeds(runs: Runs, executor: ThreadPoolExecutor) -> None:
    seen: list[RequestTiming] = []
    batcher = make_batcher(runs, executor, observe_request=seen.append)
    runs.pause_s = 0.05
    await asyncio.gather(batcher.submit([1, 2, 3, 4, 5]), batcher.submit([6]))
    two_runs, one_run = sorted(seen, key=lambda timing: timing.wait_s)
    assert two_runs.wait_s < 0.04
    assert two_runs.run_s >= 0.09
    assert one_run.wait_s >= 0.04
    with pytest.raises(RuntimeError):
        await batcher.submit(["bad"])
    assert len(seen) == 2


async def test_the_observer_sees_each_batch(runs: Runs, executor: ThreadPoolExecutor) -> None:
    seen: list[BatchTiming] = []
    batcher = make_batcher(runs, executor, observe=seen.append)
    await batcher.submit([1, 2, 3, 4, 5])
    assert [timing.size for timing in seen] == [4, 1]
    assert all(timing.run_s >= 0 and timing.oldest_wait_s >= 0 for timing in seen)
