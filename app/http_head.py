"""HTTP/1.1 as uvicorn reads it, with bounds on a request's head: its line and headers, which come before any key is asked for."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.error_shapes import axon

MAX_HEAD_BYTES = 64 * 1024  # above the 8 to 32 KB of the proxies in front; what comes in its first packet, 256 KB at most, is not counted


class BoundedHttp(HttpToolsProtocol):
    """Refuses a head that is too long (431) or does not arrive within `head_timeout_s` (408), and hangs up."""

    def __init__(self, *, head_timeout_s: float, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._head_timeout_s = head_timeout_s
        self._head_began = False
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        continued = self._head_began
        super().data_received(data)
        if self._head_began:  # most heads come whole, and were never seen here
            self._start_timer()
            self._head_bytes += len(data) if continued else 0
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431, f"the request's line and headers are longer than {MAX_HEAD_BYTES:,} bytes")

    def on_message_begin(self) -> None:
        self._head_began, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_began = False
        self._stop_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "this is not HTTP/1.1 as it should be")

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._head_timeout_s, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if self._head_began:
            self._refuse(408, f"the request's headers did not arrive within {self._head_timeout_s:g} s")
        else:
            self.transport.close()  # nothing was asked

    def _refuse(self, status: int, message: str) -> None:
        self._stop_timer()
        if self.cycle is None or self.cycle.response_complete:  # else another answer is on its way here
            self.transport.write(_answer(status, message))
        self.transport.close()


def _answer(status: int, message: str) -> bytes:
    body = json.dumps(axon(status, "bad_request", message, None)[1]).encode()
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
        f"content-length: {len(body)}",
        "connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
