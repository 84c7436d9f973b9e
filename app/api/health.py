"""Is the process alive, and can it answer for every model."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from app.api.state import draining, repository, settings

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
    """Where every model stands, and whether that is enough."""
    states = [
        ModelState(name=status.name, version=status.version, state=status.state, reason=status.reason)
        for status in repository(request).statuses()
    ]
    needed = ("ready",) if settings(request).strict_readiness else ("ready", "refused")
    is_ready = all(state.state in needed for state in states) and any(state.state == "ready" for state in states)
    if draining(request):
        return Readiness(status="not_ready", reason=DRAINING, models=states)
    return Readiness(status="ready" if is_ready else "not_ready", models=states)
