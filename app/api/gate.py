"""Who may ask: with API keys, whoever sends one; without, everybody. A path that nobody thought of is behind it too.

Pure ASGI, before any route is looked for: what it refuses is not even told whether the path exists.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.admin import ADMIN_PATHS
from app.api.error_handlers import error_response
from app.errors import InvalidApiKey
from app.keys import ADMIN, ApiKey, holder_of
from app.observability import CLIENT

HEALTH = frozenset({"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"})  # an orchestrator has no key
PAGES = frozenset({"/", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
PAGE_FILES = ("/web/", "/static-offline-docs/")


class Gate:
    """Lets a request pass that sends one of the keys, as `Authorization: Bearer` or as `X-API-Key`.

    `admin` is the admin key: it opens the paths that are its own and no other.
    """

    def __init__(self, app: ASGIApp, keys: Sequence[ApiKey], admin: bytes | None, public_pages: bool) -> None:
        self._app = app
        self._keys = keys
        self._admin_keys = [] if admin is None else [ApiKey(ADMIN, admin)]
        self._open = HEALTH | PAGES if public_pages else HEALTH
        self._open_files = PAGE_FILES if public_pages else ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            path: str = scope["path"]
            if path not in self._open and not path.startswith(self._open_files):
                try:
                    scope[CLIENT] = self._holder(scope, path)
                except InvalidApiKey as error:
                    await _refuse(error, scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _holder(self, scope: Scope, path: str) -> str:
        """Raises InvalidApiKey."""
        sent = api_key, bearer = _sent(scope)
        if api_key is None and bearer is None:
            if path.startswith(ADMIN_PATHS):
                raise InvalidApiKey("this needs the admin key, as Authorization: Bearer")
            raise InvalidApiKey("this needs an API key, as Authorization: Bearer or as X-API-Key")
        for key in sent:
            if key is not None and (holder := holder_of(key, self._keys)) is not None:
                return holder
        if path.startswith(ADMIN_PATHS) and bearer is not None and holder_of(bearer, self._admin_keys) is not None:
            return ADMIN
        raise InvalidApiKey("the API key is not one of this server's")


def _sent(scope: Scope) -> tuple[bytes | None, bytes | None]:
    """(X-API-Key, the token of Authorization: Bearer)"""
    api_key = bearer = None
    for name, value in scope["headers"]:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip()
        elif name == b"x-api-key":
            api_key = value.strip()
    return api_key, bearer


async def _refuse(error: InvalidApiKey, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before it was accepted: 403
        return
    await error_response(scope["path"], error)(scope, receive, send)
