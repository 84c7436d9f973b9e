"""What an operator sees: a request id on every answer, one access log line a request, log lines as text or JSON.

Pure ASGI: a middleware built on BaseHTTPMiddleware hides the client's disconnect. Nothing here logs a body.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any, Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

access_logger = logging.getLogger("axon.access")
error_logger = logging.getLogger("axon.errors")

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class RequestContext:
    """Gives every HTTP answer an X-Request-Id (the client's own, if it is a sane one) and writes the access log."""

    def __init__(self, app: ASGIApp, internal_error_body: Callable[[str], dict[str, Any]]) -> None:
        """`internal_error_body` gives, for a path, what a client hears of a bug."""
        self._app = app
        self._internal_error_body = internal_error_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        request_id = _request_id(scope)
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
            error_logger.exception("%s %r failed, request %s", scope["method"], scope["path"], request_id.decode())
            if status == 0:
                await _send_internal_error(send_with_id, self._internal_error_body(scope["path"]))
        finally:
            if access_logger.isEnabledFor(logging.INFO):
                _log_access(scope, status, request_id, time.monotonic() - started)


async def _send_internal_error(send: Send, error: dict[str, Any]) -> None:
    body = json.dumps(error).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 500, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return bytes(value)
    return uuid.uuid4().hex.encode()


def _log_access(scope: Scope, status: int, request_id: bytes, seconds: float) -> None:
    fields = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,
        "duration_ms": round(seconds * 1000, 2),
        "request_id": request_id.decode(),
    }
    access_logger.info("%(method)s %(path)r %(status)s %(duration_ms)s ms %(request_id)s", fields, extra={"fields": fields})


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure_logging(log_format: Literal["text", "json"]) -> None:
    """Send the server's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a malformed form is its sender's matter
    for name in ("axon", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
