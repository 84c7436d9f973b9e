"""RunThreads: work in its order, and a thread that does not come back is replaced."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait

import pytest

from app.errors import RunStuck
from app.runtime import run_threads
from app.runtime.run_threads import RunThreads


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def named_threads() -> int:
    return sum(thread.name == "axon-run" for thread in threading.enumerate())


def wait_until(condition: object, timeout_s: float = 10) -> None:
    give_up_at = time.monotonic() + timeout_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def test_work_is_done_in_its_order_and_its_errors_come_back() -> None:
    done: list[int] = []
    with RunThreads(1, 60) as threads:
        futures = [threads.submit(done.append, number) for number in range(20)]
        failing = threads.submit(int, "no number")
        assert threads.submit(pow, 2, exp=10).result(10) == 1024
        wait(futures)
        with pytest.raises(ValueError, match="no number"):
            failing.result(10)
    assert done == list(range(20))


def test_as_many_at_once_as_there_are_threads(gate: threading.Event) -> None:
    with RunThreads(3, 60) as threads:
        barrier = threading.Barrier(4)
        futures = [threads.submit(barrier.wait, 10) for _ in range(3)]
        barrier.wait(10)
        wait(futures, 10)
        assert all(future.exception() is None for future in futures)


def test_work_that_was_cancelled_before_it_began_is_not_done(gate: threading.Event) -> None:
    with RunThreads(1, 60) as threads:
        threads.submit(gate.wait, 10)
        waiting = threads.submit(pytest.fail, "it ran")
        assert waiting.cancel()
        gate.set()
        assert threads.submit(int).result(10) == 0


def test_a_stuck_run_is_failed_and_its_thread_replaced(gate: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    with RunThreads(1, 0.2) as threads:
        stuck = threads.submit(gate.wait, 30)
        behind = threads.submit(int, "7")
        with pytest.raises(RunStuck, match=r"a run took longer than 0\.2 s and was given up"):
            stuck.result(10)
        assert behind.result(10) == 7  # on the thread that took its place
        gate.set()
        wait_until(lambda: "came back after" in caplog.text)
    assert "a run takes longer than 0.2 s: it is given up, and its thread is replaced" in caplog.text


def test_all_threads_may_get_stuck_and_the_work_goes_on(gate: threading.Event) -> None:
    before = named_threads()  # of other servers in this process
    with RunThreads(2, 0.1) as threads:
        stuck = [threads.submit(gate.wait, 30) for _ in range(5)]
        assert threads.submit(int, "7").result(10) == 7
        assert all(isinstance(future.exception(10), RunStuck) for future in stuck)
        gate.set()
        wait_until(lambda: named_threads() == before + 2)


class Clock:
    """Time passes only where a test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return self.now


def test_what_takes_nearly_too_long_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(run_threads, "time", clock)

    def nearly_too_long() -> None:
        clock.now += 0.09
        looks = clock.looks
        wait_until(lambda: clock.looks >= looks + 2)  # the watchdog's: at the second one it has judged by the first

    with RunThreads(1, 0.1) as threads:
        assert all(threads.submit(nearly_too_long).exception(20) is None for _ in range(4))


def test_the_end_does_not_wait_for_a_thread_that_is_stuck(gate: threading.Event) -> None:
    threads = RunThreads(1, 60)
    threads.submit(gate.wait, 30)
    started = time.monotonic()
    threads.shutdown()
    assert time.monotonic() - started < 5
