"""`python -m bench.access`: what a request costs before it reaches its endpoint and after it left it, in microseconds.

The middleware of `create_app`, around an application that answers at once: request id, access log, headers, and with
their settings the keys, the rate limit and CORS. The log goes to /dev/null, formatted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.main import create_app
from app.observability import configure_logging
from app.settings import Settings

KEY = "an-api-key-of-the-benchmark"
REQUESTS, ROUNDS = 5_000, 15
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "log_format=json": {"log_format": "json"},
    "api_keys=(one)": {"api_keys": KEY},
    "api_keys=(twenty)": {"api_keys": ",".join([*(f"{KEY}-{number}" for number in range(19)), KEY])},
    "rate_limit_per_minute=1000000": {"rate_limit_per_minute": 1_000_000},
    "cors_origins=https://example.org": {"cors_origins": "https://example.org"},
}
HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"python-httpx/0.28"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"authorization", b"Bearer " + KEY.encode()),
    (b"content-type", b"image/jpeg"),
    (b"content-length", b"8123"),
]


async def answer_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": b"{}"})


def around(settings: Settings, inner: ASGIApp) -> ASGIApp:
    """The application's middleware, around another application."""
    for middleware in reversed(create_app(settings).user_middleware):
        inner = middleware.cls(inner, *middleware.args, **middleware.kwargs)
    return inner


async def microseconds(app: ASGIApp) -> float:
    """Processor time a request; the least of the rounds, for what else runs here only adds to it."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for _ in range(REQUESTS):
            scope = {"type": "http", "method": "POST", "path": "/v1/image-classification/skin-lesion", "query_string": b""}
            await app(scope | {"headers": HEADERS, "client": ("127.0.0.1", 40_000)}, receive, send)
        best = min(best, time.process_time() - started)
    return best / REQUESTS * 1e6


def main() -> None:
    bare = asyncio.run(microseconds(answer_at_once))
    print(f"{'an application that answers at once':48} {bare:6.1f} us")
    for name, fields in VARIANTS.items():
        settings = Settings(models=Path("absent"), **fields)
        configure_logging(settings.log_format)
        with Path(os.devnull).open("w") as nowhere:
            for handler in logging.getLogger().handlers:
                if isinstance(handler, logging.StreamHandler):
                    handler.setStream(nowhere)
            cost = asyncio.run(microseconds(around(settings, answer_at_once)))
        print(f"{name:48} {cost - bare:+6.1f} us")


if __name__ == "__main__":
    main()
