"""What the lifespan makes and every request can reach."""

from __future__ import annotations

from typing import TypedDict, cast

from starlette.requests import Request

from app.runtime.metrics import ServingMetrics
from app.runtime.pipeline import Servable
from app.runtime.repository import ModelRepository
from app.settings import Settings


class Incoming:
    """The bytes of bodies that are being received, of all requests together."""

    def __init__(self, max_bytes: int) -> None:
        self.nbytes = 0
        self._max_bytes = max_bytes

    def has_room(self, nbytes: int) -> bool:
        return self.nbytes + nbytes <= self._max_bytes


class State(TypedDict):
    """Yielded by the lifespan; Starlette puts it on `request.state`."""

    settings: Settings
    repository: ModelRepository
    metrics: ServingMetrics
    admin_digest: bytes | None  # of the admin key; None: there is none
    incoming: Incoming
    draining: bool  # the server was told to stop before this request began


def settings(request: Request) -> Settings:
    return cast(Settings, request.state.settings)


def repository(request: Request) -> ModelRepository:
    return cast(ModelRepository, request.state.repository)


def note_model(request: Request, model: Servable) -> None:
    """The request asks this model for an answer: if it fails, it is this model's failure."""
    if request.method == "POST":
        request.state.asked_model = (model.name, model.manifest.version)


def asked_model(request: Request) -> tuple[str, str] | None:
    """(name, version)"""
    return getattr(request.state, "asked_model", None)


def metrics(request: Request) -> ServingMetrics:
    return cast(ServingMetrics, request.state.metrics)


def admin_digest(request: Request) -> bytes | None:
    return cast("bytes | None", request.state.admin_digest)


def incoming(request: Request) -> Incoming:
    return cast(Incoming, request.state.incoming)


def draining(request: Request) -> bool:
    return bool(request.state.draining)
