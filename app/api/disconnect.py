"""A client that hangs up: its work is dropped, not finished for nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from app.errors import ClientLeft

Answer = TypeVar("Answer")


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """The answer of `work`, which is cancelled when the client leaves. The body must have been read before.

    Awaiting `receive()` is the sure way to hear of it; polling `is_disconnected()` is not. Raises ClientLeft.
    """
    answering = asyncio.current_task()
    assert answering is not None
    leaving = asyncio.ensure_future(_cancel_on_disconnect(request, answering))
    try:
        return await work
    except asyncio.CancelledError:
        if leaving.done() and answering.uncancel() == 0:
            raise ClientLeft from None
        raise
    finally:
        leaving.cancel()


async def _cancel_on_disconnect(request: Request, answering: asyncio.Task[Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    answering.cancel()
