"""HTTP/1.1 as uvicorn reads it, with bounds on what a connection may cost before any key is asked for, and after the answer."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from functools import partial
from http import HTTPStatus
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.api.error_shapes import error_body
from app.api.security_headers import ANSWER
from app.errors import BadRequest
from app.http_parser import StayingParser
from app.observability import MAX_PATH_CHARS, log_access, request_id_of

MAX_HEAD_BYTES = 64 * 1024  # above the 8 to 32 KB of the proxies in front; what comes in its first packet, 256 KB at most, is not counted
LATE, TOO_LONG = 408, 431  # of a head; their error is called as a BadRequest is
MAX_WAITING = 16  # requests behind the one that is answered, on one connection; beyond, nothing is read until that is done


class BoundedHttp(HttpToolsProtocol):
    """Refuses a head that is too long (431) or does not arrive within `timeout_s` (408), and hangs up.

    Hangs up as well on a client that takes nothing of its answer for so long. What is no HTTP hears 400; a request that
    came whole before it is answered first.
    """

    def __init__(self, *, timeout_s: float, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.parser = StayingParser(self)
        self._timeout_s = timeout_s
        self._head_began = False
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False
        self._answering: RequestResponseCycle | None = None  # `cycle` is the newest request, which may wait behind it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux; the others wait for such a client as long as it likes
            milliseconds = math.ceil(self._timeout_s * 1000)
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        self._abandon()  # uvicorn tells the newest request alone

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, partial(_without_chunks, app, cycle) if cycle.scope["http_version"] == "1.0" else app)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        continued = self._head_began
        super().data_received(data)
        if self._head_began:  # most heads come whole, and were never seen here
            self._start_timer()
            self._head_bytes += len(data) if continued else 0
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(TOO_LONG, f"the request's line and headers are longer than {MAX_HEAD_BYTES:,} bytes")
        elif not self._refused and self.cycle is not None and self.cycle.response_complete:
            self._start_timer()  # of a body that nobody waits for, or a blank line: uvicorn's own timer ended with it

    def on_message_begin(self) -> None:
        self._head_began, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # it comes again, without the offer
        self._head_began = False
        self._stop_timer()
        super().on_headers_complete()
        if 0 < len(self.pipeline) < MAX_WAITING:
            self.flow.resume_reading()  # uvicorn would read nothing more, and not hear a client that hangs up

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not a valid HTTP/1.1 request")

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._timeout_s, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if self._head_began:
            self._refuse(LATE, f"the request's headers did not arrive within {self._timeout_s:g} s")
        else:
            self.transport.close()  # nothing was asked, or nothing more

    def _refuse(self, status: int, message: str) -> None:
        """And hang up, behind the answer to a request that came whole, if there is one."""
        self._stop_timer()
        self._refused = True
        self.pipeline.clear()
        begun = self._answering
        if begun is not None and not begun.response_complete and not begun.more_body:
            begun.keep_alive = False
            return
        if begun is None or begun.response_complete or not begun.response_started:
            path, request_id = (self.url or b"").partition(b"?")[0].decode("latin-1"), request_id_of(self.headers)
            self.transport.write(_answer(status, error_body(path, BadRequest(message)), request_id))
            if begun is None or begun.response_complete:  # else the application has its line
                method = self.parser.get_method().decode() if path else ""
                log_access({"method": method, "path": path[:MAX_PATH_CHARS], "status": status, "request_id": request_id.decode()})
            self._abandon()
        self.transport.close()

    def _abandon(self) -> None:
        """Tell the request that is answered, if one is, that nobody is left."""
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()


async def _without_chunks(app: ASGIApp, cycle: RequestResponseCycle, scope: Scope, receive: Receive, send: Send) -> None:
    """HTTP/1.0 knows none: a body ends with its connection, which is not kept (RFC 9112, 6.3)."""

    async def send_as_it_is(message: Message) -> None:
        cycle.chunked_encoding = False
        cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    await app(scope, receive, send_as_it_is)


def _answer(status: int, error: dict[str, Any], request_id: bytes) -> bytes:
    body = json.dumps(error).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id),
        *ANSWER,
        (b"connection", b"close"),
    ]
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode(), *(name + b": " + value for name, value in headers)]
    return b"\r\n".join([*lines, b"", body])
