"""How an error is written, by the face of the API that the client talks to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.errors import ServingError

Shape = Callable[[int, str, str, str | None], tuple[int, dict[str, Any]]]  # (status, type, message, param) -> (status, body)

_OPENAI_STATUSES = {413: 400, 415: 400, 422: 400}  # its clients know 400 for whatever is wrong with a request
_OPENAI_TYPES = {429: "rate_limit_error", 401: "authentication_error"}


def axon(status: int, kind: str, message: str, param: str | None) -> tuple[int, dict[str, Any]]:
    return status, {"error": {"type": kind, "message": message, "param": param}}


def models(status: int, kind: str, message: str, param: str | None) -> tuple[int, dict[str, Any]]:
    """Axon's, with the field that OpenAI's clients look at: `/v1/models` is for both."""
    return status, {"error": {"type": kind, "message": message, "param": param, "code": kind}}


def openai(status: int, kind: str, message: str, param: str | None) -> tuple[int, dict[str, Any]]:
    category = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    error = {"message": message, "type": category, "param": param, "code": kind}
    return _OPENAI_STATUSES.get(status, status), {"error": error}


def open_inference(status: int, kind: str, message: str, param: str | None) -> tuple[int, dict[str, Any]]:
    """The protocol knows a sentence and nothing else, and 400 for whatever is wrong with a request."""
    return {422: 400}.get(status, status), {"error": message}


SHAPES: dict[str, Shape] = {  # by the beginning of the path
    **dict.fromkeys(("/v1/completions", "/v1/chat", "/v1/embeddings", "/v1/responses"), openai),  # also for what is not there
    "/v1/models": models,
    "/v2": open_inference,
}


def shape_of(path: str) -> Shape:
    return next((shape for prefix, shape in SHAPES.items() if path == prefix or path.startswith(f"{prefix}/")), axon)


def error_body(path: str, error: ServingError) -> dict[str, Any]:
    return shape_of(path)(error.status, error.type, error.message, error.param)[1]


def bug() -> ServingError:
    """The client gets the usual shape and the request id, the log gets the traceback."""
    return ServingError("the server failed to answer; its log has the details under this request id")
