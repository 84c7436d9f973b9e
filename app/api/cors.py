"""Which pages of other sites may ask from a browser: none, but for the origins of AXON_CORS_ORIGINS."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.error_handlers import error_response
from app.errors import BadRequest

METHODS = ("GET", "HEAD", "POST")
OPENAIS = "Arch Async Helper-Method Lang OS Package-Version Read-Timeout Retry-Count Runtime Runtime-Version Timeout"
REQUEST_HEADERS = (
    *(f"X-Stainless-{name}" for name in OPENAIS.split()),  # OpenAI's clients tell of themselves; nothing here reads it
    "OpenAI-Organization",
    "OpenAI-Project",
    "User-Agent",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Inference-Header-Content-Length",
    "Traceparent",
    "Tracestate",
    "X-API-Key",
    "X-Request-Id",
    "X-Request-Timeout-Ms",
)
ANSWER_HEADERS = (  # that a page may read besides the common ones
    "Inference-Header-Content-Length",
    "Retry-After",
    "Server-Timing",
    "X-Image-Size",
    "X-Model",
    "X-Options",
    "X-Request-Id",
)


class Cors(CORSMiddleware):
    """Starlette's, with no credentials but the key that a page sends itself, and a refusal in our words."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(app, origins, METHODS, REQUEST_HEADERS, expose_headers=ANSWER_HEADERS)

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        return response if response.status_code == 200 else _Refusal(response.headers)


class _Refusal(Response):
    """Of a preflight, in the shape of its path, which is known when it is sent."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(status_code=400)
        self._kept = {name: value for name, value in headers.items() if name.startswith("access-control") or name == "vary"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = error_response(
            scope["path"], BadRequest("a page of this origin may not send this request, with this method and these headers")
        )
        response.headers.update(self._kept)
        await response(scope, receive, send)
