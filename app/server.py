"""uvicorn, with a shutdown that keeps its word: accepted requests get their time, and after it a clear 503."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from functools import partial

import uvicorn

from app.http_head import BoundedHttp
from app.main import create_app
from app.settings import Settings

ANSWER_S = 5  # after the grace: for runs that cannot be stopped, and to write the last answers


class Server(uvicorn.Server):
    """Stops listening at the signal; requests that never ran when the grace is over are answered with ModelNotReady."""

    def __init__(self, config: uvicorn.Config, grace_s: float) -> None:
        super().__init__(config)
        self._grace_s = grace_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        expiry = asyncio.create_task(self._fail_after_grace())
        await super().shutdown(sockets)
        expiry.cancel()

    async def _fail_after_grace(self) -> None:
        await asyncio.sleep(self._grace_s)
        if (repository := self.lifespan.state.get("repository")) is not None:
            await repository.drain(0)


def run(settings: Settings) -> None:
    """Serve until a signal says stop; exits 3 if the server could not start."""
    grace_s = settings.drain_timeout_ms / 1000
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        http=partial(BoundedHttp, head_timeout_s=settings.request_timeout_ms / 1000),  # type: ignore[arg-type] # it is only called
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(grace_s) + ANSWER_S,
    )
    server = Server(config, grace_s)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        sys.exit(3)
