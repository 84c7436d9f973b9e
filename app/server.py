"""uvicorn, with signals that keep their word.

SIGTERM or SIGINT: not ready from now on. Requests that have begun are answered, new ones hear 503; when all are answered, or
the grace is over and the rest has heard 503 or an error event, the process ends with status 0. A second one ends it at once.
SIGHUP: the model repository is read again; but if it is the controlling terminal that went, as SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import errno
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import NoReturn

import uvicorn

from app.http_head import BoundedHttp
from app.main import create_app
from app.runtime.run_threads import end_process
from app.settings import Settings

logger = logging.getLogger("axon.server")

ANSWER_S = 2  # after the grace: to write the last answers
SWITCH_S = 0.0005  # between threads that both run Python: with 5 ms, Python's own, a step waits for the event loop longer than it takes
CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """Goes on listening while it drains: a balancer that asks whether it is ready hears so, and nobody is turned away unheard."""

    def __init__(self, config: uvicorn.Config, grace_s: float) -> None:
        super().__init__(config)
        self._grace_s = grace_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None
        self._reloading: asyncio.Task[None] | None = None
        self._has_terminal = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise the signal again at its end, and the exit status would be the signal's.

        What a signal starts has a context of its own: it may come in the middle of a request, whose id is not the shutdown's.
        """
        self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._stop)
            if hasattr(signal, "SIGHUP"):  # not on Windows
                self._has_terminal = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and _has_terminal()  # ignored: nohup
                signal.signal(signal.SIGHUP, self._reload)
        yield

    def _stop(self, number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, _end_at_once if os.getpid() == 1 else signal.SIG_DFL)  # the kernel spares process 1
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._begin_drain, signal.Signals(number).name, context=contextvars.Context())

    def _reload(self, number: int, frame: FrameType | None) -> None:
        assert self._loop is not None
        if self._has_terminal and _terminal_is_gone():
            self._stop(number, frame)
        else:
            self._loop.call_soon_threadsafe(self._begin_reload, context=contextvars.Context())

    def _begin_reload(self) -> None:
        repository = self.lifespan.state.get("repository") if self.started else None
        if repository is None or self._draining is not None:
            logger.warning("SIGHUP: the server is not serving, the model repository is not read again")
            return
        logger.info("SIGHUP: the model repository is read again")
        self._reloading = asyncio.get_running_loop().create_task(repository.rescan())

    def _begin_drain(self, name: str) -> None:
        if not self.started:
            self.should_exit = True
            return
        logger.info("%s: shutting down; %d requests have %g s, a second signal ends at once", name, len(self._begun()), self._grace_s)
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    async def _drain(self) -> None:
        self.lifespan.state["draining"] = True  # for requests that begin from now on: each has a copy
        self._close_kept_connections()
        if begun := self._begun():
            _, late = await asyncio.wait(begun, timeout=self._grace_s)
            if late:
                logger.warning("the grace is over: %d requests are given up", len(late))
                await self.lifespan.state["repository"].drain(0)
        self.should_exit = True

    def _begun(self) -> set[asyncio.Task[None]]:
        return set(self.server_state.tasks)

    def _close_kept_connections(self) -> None:
        """Each behind its next answer: closed at once, an idle one could cut off a request that is on its way."""
        self.config.encoded_headers.append(CLOSE)
        self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        for connection in self.server_state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                connection.shutdown()


def _end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + number)


def _has_terminal() -> bool:
    """Whether there is one that can hang up: a daemon has none, whatever became of the one it was started from."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _terminal_is_gone() -> bool:
    """Whether standard input or output was one that somebody closed."""
    for descriptor in range(3):
        try:
            os.tcgetpgrp(descriptor)
        except OSError as error:
            if error.errno == errno.EIO:
                return True
    return False


def settle() -> None:
    """What is alive now stays alive: to look through it for garbage again and again stops every request for 40 ms.

    What is not goes back to the system. glibc would keep it for later, a few megabytes more each time that a model is replaced.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, TypeError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)


def run(settings: Settings) -> NoReturn:
    """Serve until a signal says stop, then end with status 0, or 3 if the server could not start."""
    config = uvicorn.Config(
        create_app(settings, settle=settle),
        host=settings.host,
        port=settings.port,
        http=partial(BoundedHttp, timeout_s=settings.request_timeout_ms / 1000),  # type: ignore[arg-type] # it is only called
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=ANSWER_S,
    )
    sys.setswitchinterval(SWITCH_S)
    server = Server(config, settings.drain_timeout_ms / 1000)
    with contextlib.suppress(SystemExit):  # uvicorn's own, where it could not start
        server.run()
    end_process(0 if server.started else 3)
