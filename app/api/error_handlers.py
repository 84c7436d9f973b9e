"""Every error in the shape of the API's face, `app.api.error_shapes`. `app.observability` sees a bug and has `internal_error` answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from app.api.error_shapes import bug, shape_of
from app.api.state import asked_model, metrics
from app.api.validation import explain
from app.errors import ClientLeft, QueueFull, RateLimited, ServingError, Unauthorized


class ErrorDetail(BaseModel):
    type: str
    message: str
    param: str | None = None


class ErrorAnswer(BaseModel):
    """What every answer that is not a success looks like."""

    error: ErrorDetail


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": description}
    for status, description in {
        400: "The body is malformed, or the picture cannot be decoded",
        404: "There is no such model; the message names those that exist",
        413: "Too many bytes, pixels, characters or texts",
        415: "The content type is not accepted",
        422: "An option is out of range; `param` says which",
        429: "The queue is full; see Retry-After",
        503: "The model is loading, was refused, or the server is shutting down",
        504: "The deadline passed",
    }.items()
}


ROUTING_KINDS = {404: "not_found", 405: "method_not_allowed"}  # of what no endpoint sees


def install_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(ServingError, _serving_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(ClientDisconnect, _client_left)  # while the body came
    app.add_exception_handler(ClientLeft, _client_left)


def error_response(path: str, error: ServingError) -> Response:
    """What a client of this path hears."""
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, QueueFull | RateLimited) else {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(path, error.status, error.type, error.message, error.param, headers)


async def internal_error(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer of an application that failed."""
    await error_response(scope["path"], bug())(scope, receive, send)


async def _serving_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ServingError)
    if (asked := asked_model(request)) is not None:
        metrics(request).refused(*asked, error)
    return error_response(request.url.path, error)


async def _validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return await _serving_error(request, explain(error.errors()))


async def _http_exception(request: Request, error: Exception) -> Response:
    """Routing errors: no such path, or not with this method."""
    assert isinstance(error, HTTPException)
    message = {
        404: f"there is nothing at {request.url.path[:128]}; see /docs",
        405: f"{request.method[:16]} is not allowed at {request.url.path[:128]}; see /docs",
    }.get(error.status_code, HTTPStatus(error.status_code).phrase)
    kind = ROUTING_KINDS.get(error.status_code, "http_error")
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # app.api.head answers it
    return _answer(request.url.path, error.status_code, kind, message, None, headers)


async def _client_left(request: Request, error: Exception) -> Response:
    """Nobody is left to read this; 499 is what the access log shows."""
    return Response(status_code=499)


def _answer(path: str, status: int, kind: str, message: str, param: str | None, headers: dict[str, str]) -> Response:
    status, body = shape_of(path)(status, kind, message, param)
    return JSONResponse(body, status, headers)
