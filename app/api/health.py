"""Is the process alive, and can it answer for every model."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.api.state import draining, repository, settings
from app.runtime.repository import ModelStatus

DRAINING = "the server is shutting down"

router = APIRouter(prefix="/health", tags=["health"])


class ModelState(BaseModel):
    name: str
    version: str
    state: Literal["loading", "ready", "refused", "stuck"]
    reason: str | None = None


class Readiness(BaseModel):
    status: Literal["ready", "not_ready"]
    reason: str | None = None  # where it is none of the models
    models: list[ModelState]


@router.get("/live", summary="The process answers")
async def live() -> dict[str, str]:
    return {"status": "live"}


@router.get("/ready", summary="Every model is warm", response_model=Readiness, responses={503: {"model": Readiness}})
async def ready(request: Request) -> Response:
    """200 when every model of the repository is warm, else 503; the body says which one is missing and why.

    503 as well from the moment the server is told to stop, and while a model's runs do not come back.

    With `AXON_STRICT_READINESS=false` a refused model is reported but does not make the server unready.
    """
    found = readiness(request)
    return JSONResponse(found.model_dump(exclude_none=True), 200 if found.status == "ready" else 503)


def readiness(request: Request) -> Readiness:
    """Where every version stands, and whether that is enough."""
    statuses, strict = repository(request).statuses(), settings(request).strict_readiness
    states = [ModelState(name=each.name, version=each.version, state=each.state, reason=each.reason) for each in statuses]
    if draining(request):
        return Readiness(status="not_ready", reason=DRAINING, models=states)
    is_ready = any(each.state == "ready" for each in statuses) and not any(_is_missing(each, strict) for each in statuses)
    return Readiness(status="ready" if is_ready else "not_ready", models=states)


def _is_missing(status: ModelStatus, strict: bool) -> bool:
    """What came into the folder while the server ran is said, but takes no server out of service."""
    if status.state == "refused":
        return strict and status.needed
    return status.state == "stuck" or (status.state == "loading" and status.needed)
