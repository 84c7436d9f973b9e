"""Work on the model repository's files that the server's end does not wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from app.errors import ModelNotReady

Made = TypeVar("Made")


class Loading:
    """One piece of work after the other, each in a thread that `begin` gives it and that is left to itself when the server ends."""

    def __init__(self, begin: Callable[[Callable[[], Any]], Future[Any]]) -> None:
        self._begin = begin
        self._closed = False
        self._working: asyncio.Future[Any] | None = None

    def stop(self) -> None:
        """What has not begun will not, and what is at work is not waited for."""
        self._closed = True
        if self._working is not None:
            self._working.cancel()

    async def run(self, work: Callable[[], Made]) -> Made:
        """Raises what it raises, ModelRejected if it takes too long, or ModelNotReady when the server ends."""
        ends = ModelNotReady("the server is shutting down; nothing is loaded any more")
        if self._closed:
            raise ends
        task = asyncio.current_task()
        assert task is not None
        working: asyncio.Future[Made] = asyncio.wrap_future(self._begin(work))
        self._working = working
        try:
            return await working
        except asyncio.CancelledError:
            if self._closed and not task.cancelling():
                raise ends from None
            raise
        finally:
            self._working = None
