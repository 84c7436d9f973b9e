"""What endpoints ask for by type: the model in the path, the request's deadline."""

# No `from __future__ import annotations`: FastAPI reads the annotation of `dependency`, which holds a local name.
import time
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Header, Path
from starlette.requests import Request

from app.api.state import repository, settings
from app.runtime.served_model import ServedModel


def get_model(task: str, example: str) -> Callable[[Request, str], Awaitable[ServedModel]]:
    """A dependency for `/v1/{task}/{model}`: a 404 names the models that exist for this task."""

    async def dependency(
        request: Request, model: Annotated[str, Path(description="name of a served model", json_schema_extra={"example": example})]
    ) -> ServedModel:
        return repository(request).get(model, task)

    return dependency


async def get_deadline(
    request: Request,
    x_request_timeout_ms: Annotated[
        int | None, Header(ge=1, le=3_600_000, description="give up after this many milliseconds (504)")
    ] = None,
) -> float:
    """The time.monotonic() instant after which no one waits for the answer."""
    milliseconds = x_request_timeout_ms or settings(request).request_timeout_ms
    return time.monotonic() + milliseconds / 1000
