"""The threads that all work of the models runs on. One that is stuck is given up, and another takes its place.

Native code cannot be ended from outside. So what runs for too long is failed for its callers, with RunStuck, and its
thread is written off: it is a daemon, which does not keep the process alive, and if it ever comes back it ends there.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, NoReturn

from app.errors import RunStuck

logger = logging.getLogger("axon.runs")

THREAD_NAME = "axon-run"
JOIN_S = 1.0  # for threads at work when the server ends: what they run was told to stop
MOMENT_S = 0.1
LOOKS_PER_TIMEOUT = 10


@dataclass(slots=True, eq=False)
class _Work:
    call: Callable[[], Any]
    future: Future[Any] = field(default_factory=Future)
    started_at: float = 0.0


class RunThreads(Executor):
    """`size` threads that do what is submitted in the order it came; none is at one thing longer than `stuck_after_s`.

    `stuck` makes, of those seconds, the error of what was given up.
    """

    def __init__(self, size: int, stuck_after_s: float, stuck: Callable[[float], Exception] = RunStuck) -> None:
        self._stuck_after_s = stuck_after_s
        self._stuck = stuck
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._running: dict[threading.Thread, _Work] = {}
        self._lock = threading.Lock()  # for _running: a run ends, or is given up
        self._threads: set[threading.Thread] = set()
        self._closed = threading.Event()
        for _ in range(size):
            self._start_thread()
        threading.Thread(target=self._watch, name="axon-watchdog", daemon=True).start()

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **options: Any) -> Future[Any]:
        work = _Work(partial(call, *arguments, **options))
        self._queue.put(work)
        return work.future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """What was submitted is still done. A thread that does not come back then is left behind."""
        self._closed.set()
        for _ in self._threads:
            self._queue.put(None)
        if wait:
            give_up_at = time.monotonic() + JOIN_S
            for thread in list(self._threads):
                thread.join(max(0.0, give_up_at - time.monotonic()))

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=THREAD_NAME, daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self) -> None:
        thread = threading.current_thread()
        while (work := self._queue.get()) is not None:
            if not work.future.set_running_or_notify_cancel():
                continue
            work.started_at = time.monotonic()
            with self._lock:
                self._running[thread] = work
            settle = _outcome(work)
            with self._lock:
                is_mine = self._running.pop(thread, None) is work
            if not is_mine:
                logger.warning("a run that was given up came back after %.1f s", time.monotonic() - work.started_at)
                return
            settle()
            del work, settle  # what it holds is not kept until the next one comes

    def _watch(self) -> None:
        while not self._closed.wait(self._stuck_after_s / LOOKS_PER_TIMEOUT):
            for work in self._take_stuck():
                logger.error("a run takes longer than %.1f s: it is given up, and its thread is replaced", self._stuck_after_s)
                work.future.set_exception(self._stuck(self._stuck_after_s))

    def _take_stuck(self) -> list[_Work]:
        """What has run for too long, its threads replaced."""
        latest_start = time.monotonic() - self._stuck_after_s
        with self._lock:
            stuck = {thread: work for thread, work in self._running.items() if work.started_at < latest_start}
            for thread in stuck:
                del self._running[thread]
                self._threads.discard(thread)
                self._start_thread()
        return list(stuck.values())


def are_left() -> bool:
    """Whether a thread that was given up, or left behind at the end, is still at it; one that just ends has a moment for it."""
    for thread in threading.enumerate():
        if thread.name == THREAD_NAME:
            thread.join(MOMENT_S)
    return any(thread.name == THREAD_NAME for thread in threading.enumerate())


def end_process(status: int) -> NoReturn:
    """Without the threads that are left, if there are any: to take the libraries down below a run that goes on could crash."""
    if are_left():
        logger.warning("a run, or a model that loads, does not come back: the process ends without it")
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):  # nobody reads it, or there is none
                stream.flush()
        os._exit(status)
    sys.exit(status)


def _outcome(work: _Work) -> Callable[[], None]:
    """Do it; what tells its future how it went."""
    try:
        return partial(work.future.set_result, work.call())
    except BaseException as error:
        return partial(work.future.set_exception, error)
