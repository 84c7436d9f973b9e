"""Our pages may ask no other machine for anything: the browser is told so."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

DOCUMENTATION = (  # its own scripts are inline; ReDoc's logo would come from its maker's server
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; font-src 'self' data:; worker-src 'self' blob:"
)
DEMO = b"default-src 'self'; img-src 'self' blob: data:"
POLICIES = {"/": DEMO, "/docs": DOCUMENTATION, "/redoc": DOCUMENTATION}


class LocalAssetsOnly:
    """Adds a Content-Security-Policy to each page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        policy = POLICIES.get(scope["path"]) if scope["type"] == "http" else None

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", policy)]
            await send(message)

        await self._app(scope, receive, send_with_policy if policy else send)
