"""What a browser is told about each answer: trust its type, tell nobody where you came from, put it in no frame, ask no other machine."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = tuple[tuple[bytes, bytes], ...]

_NO_FRAMES = b"; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; object-src 'none'"
_DOCUMENTATION = (  # its own scripts are inline; ReDoc's logo would come from its maker's server
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; font-src 'self' data:; worker-src 'self' blob:" + _NO_FRAMES
)
_DEMO = b"default-src 'self'; img-src 'self' blob: data:" + _NO_FRAMES
_NOTHING = b"default-src 'none'; frame-ancestors 'none'"


def _headers(policy: bytes, *more: tuple[bytes, bytes]) -> Headers:
    return (
        (b"content-security-policy", policy),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        *more,
    )


ANSWER = _headers(_NOTHING, (b"cache-control", b"no-store"))  # it was asked for by one client, with its key
_ANEW = (b"cache-control", b"no-cache")  # asked for anew each time: pages and files of two versions do not go together
_FILE = _headers(_NOTHING, _ANEW)
_PAGES = {"/": _headers(_DEMO, _ANEW)} | dict.fromkeys(("/docs", "/docs/oauth2-redirect", "/redoc"), _headers(_DOCUMENTATION, _ANEW))
_FILES = ("/web/", "/static-offline-docs/")


class SecurityHeaders:
    """Adds them, whoever wrote the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        headers = _PAGES.get(path) or (_FILE if path.startswith(_FILES) else ANSWER)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers]
            await send(message)

        await self._app(scope, receive, send_with_headers)
