"""A request from end to end: its id, its line in the access log, and the 500 of a bug.

Pure ASGI: a middleware built on BaseHTTPMiddleware hides the client's disconnect. Nothing here logs a body, or a query.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Iterable
from typing import Any

from opentelemetry import trace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.observability.logs import FIELDS, REQUEST_ID

access_logger = logging.getLogger("axon.access")
error_logger = logging.getLogger("axon.errors")

CLIENT = "axon.client"  # where the scope says whose key was sent
MAX_PATH_CHARS = 256

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class RequestContext:
    """Gives every HTTP answer an X-Request-Id (the client's own, if it is a sane one) and writes the access log."""

    def __init__(self, app: ASGIApp, internal_error: ASGIApp) -> None:
        """`internal_error` answers where `app` failed before its answer began."""
        self._app = app
        self._internal_error = internal_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        request_id = request_id_of(scope["headers"])
        REQUEST_ID.set(request_id.decode())
        status = 0  # until an answer begins

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            error_logger.exception("%s %r failed", scope["method"], scope["path"][:MAX_PATH_CHARS])
            if status == 0:
                await self._internal_error(scope, receive, send_with_id)
        finally:
            if access_logger.isEnabledFor(logging.INFO):
                _log_access(scope, status, request_id, time.monotonic() - started)


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The client's own, if it sent a sane one, else a new one."""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value)
    return secrets.token_hex(16).encode()


def _log_access(scope: Scope, status: int, request_id: bytes, seconds: float) -> None:
    fields = {
        "method": scope["method"],
        "path": scope["path"][:MAX_PATH_CHARS],
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
        "request_id": request_id.decode(),
    }
    if CLIENT in scope:
        fields["client"] = scope[CLIENT]
    span = trace.get_current_span().get_span_context()
    if span.is_valid:
        fields["trace_id"] = trace.format_trace_id(span.trace_id)
    log_access(fields)


def log_access(fields: dict[str, Any]) -> None:
    """The line of one request."""
    # a record of our own: logger.info() looks for the line that calls it, which takes longer than all the rest
    record = access_logger.makeRecord(access_logger.name, logging.INFO, "", 0, "answered", (), None, extra={FIELDS: fields})
    access_logger.handle(record)
