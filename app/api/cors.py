"""Which pages of other sites may ask from a browser: none, but for the origins of AXON_CORS_ORIGINS."""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from app.api.error_shapes import axon

METHODS = ("GET", "POST")
REQUEST_HEADERS = (
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
        if response.status_code == 200:
            return response
        headers = {name: value for name, value in response.headers.items() if name.startswith("access-control") or name == "vary"}
        status, body = axon(400, "bad_request", "a page of this origin may not send this request, with this method and these headers", None)
        return JSONResponse(body, status, headers)
