"""Server-sent events: bytes that are ready to go, a comment when there is silence, an end when the client leaves."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.disconnect import unless_disconnected
from app.api.error_shapes import bug, error_body
from app.errors import ClientLeft, ServingError

logger = logging.getLogger("axon.errors")

HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
PING = b": ping\n\n"


def describe_events(*examples: dict[str, Any] | str) -> dict[str, Any]:
    """OpenAPI's words for a stream; `examples` are the data of its events.

    The schema has no type: to OpenAPI 3.1 a stream is one string, and to tools that read streams it is the object of each event.
    """
    lines = (f"data: {example if isinstance(example, str) else json.dumps(example)}\n\n" for example in examples)
    schema = {"description": "server-sent events, the data of each JSON"}
    return {"content": {"text/event-stream": {"schema": schema, "example": "".join(lines)}}}


class EventStream(Response):
    """Sends what `events` yields, and closes `work` when they end, fail, or have nobody left to read them.

    `work` is entered before: what refuses a request has its own status then. Later errors become an event.
    """

    def __init__(self, events: AsyncIterator[bytes], work: ExitStack, failed: Callable[[Exception], bytes], ping_ms: int) -> None:
        super().__init__()
        self.raw_headers = HEADERS
        self._events = events
        self._work = work
        self._failed = failed
        self._ping_s = ping_ms / 1000
        self._sent_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientLeft):
            await unless_disconnected(Request(scope, receive), self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        last = b""
        try:
            with self._work:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._send_events(send)
        except Exception as error:
            last = self._failed(error)
        await self._send(send, last, more=False)

    async def _send_events(self, send: Send) -> None:
        await self._send(send, b"")  # the headers go now, not with the first event
        pinging = asyncio.ensure_future(self._ping(send))
        try:
            async for event in self._events:
                await self._send(send, event)
        finally:
            pinging.cancel()

    async def _send(self, send: Send, body: bytes, more: bool = True) -> None:
        self._sent_at = asyncio.get_running_loop().time()
        await send({"type": "http.response.body", "body": body, "more_body": more})

    async def _ping(self, send: Send) -> None:
        while True:
            silent_s = asyncio.get_running_loop().time() - self._sent_at
            if silent_s >= self._ping_s:
                await self._send(send, PING)
            else:
                await asyncio.sleep(self._ping_s - silent_s)


def event(data: Any) -> bytes:
    """One event with JSON in it."""
    return b"data: " + json.dumps(data, separators=(",", ":")).encode() + b"\n\n"


def error_event(path: str, error: Exception) -> bytes:
    """An error after the 200, in the shape of this path. What is not our own is a bug, or a run that failed: see the log."""
    if isinstance(error, ServingError):
        return event(error_body(path, error))
    logger.error("%r failed while it streamed", path, exc_info=error)
    return event(error_body(path, bug()))
