"""`/v2`: what the server is, which models it has, what each takes, and what each has done."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from app import __version__
from app.api.health import readiness
from app.api.open_inference.metadata import configuration, metadata
from app.api.open_inference.schemas import (
    ERROR_RESPONSES,
    MODEL_ERRORS,
    ModelMetadata,
    ModelNames,
    ModelReady,
    ServerLive,
    ServerMetadata,
    ServerReady,
    Statistics,
)
from app.api.open_inference.served import PARAMETERS, PATHS, get_served
from app.api.open_inference.statistics import statistics
from app.api.state import metrics, repository
from app.errors import ModelNotReady

EXTENSIONS = ["binary_tensor_data", "model_repository", "statistics", "model_configuration"]

router = APIRouter(prefix="/v2", tags=["open inference protocol"])


@router.get("", summary="The server and its extensions")
async def get_server() -> ServerMetadata:
    return ServerMetadata(name="axon", version=__version__, extensions=EXTENSIONS)


@router.get("/health/live", summary="The process answers")
async def live() -> ServerLive:
    return ServerLive()


@router.get("/health/ready", summary="Every model is warm", responses={503: ERROR_RESPONSES[503]})
async def ready(request: Request) -> ServerReady:
    """As `/health/ready`, which says more."""
    found = readiness(request)
    if found.status != "ready":
        waiting = ", ".join(f"{model.name} is {model.state}" for model in found.models if model.state != "ready")
        raise ModelNotReady(f"the server is not ready: {found.reason or waiting or 'it has no model'}; see /health/ready")
    return ServerReady()


@router.get("/models", summary="The served models")
async def list_models(request: Request) -> ModelNames:
    return ModelNames(models=[model.name for model in repository(request).newest()])


@router.get("/models/stats", summary="What every model has done")
async def get_all_statistics(request: Request) -> Statistics:
    return statistics(metrics(request).registry, repository(request).all_served())


async def get_metadata(request: Request) -> ModelMetadata:
    """The graph's own tensors; -1 is an axis of any length. `versions` are all that are served."""
    model = get_served(request)
    return metadata(model, repository(request).versions(model.name))


async def get_ready(request: Request) -> ModelReady:
    model = get_served(request)
    if model.health.problem is not None:
        raise ModelNotReady(f"the model {model.name!r} is not ready: {model.health.problem}")
    return ModelReady(name=model.name)


async def get_configuration(request: Request) -> dict[str, Any]:
    """As Triton writes it. `parameters.encoded_input` names the BYTES input that takes encoded pictures, or texts."""
    return configuration(get_served(request))


async def get_statistics(request: Request) -> Statistics:
    """Since the server started: requests, rows, runs, and where the time went."""
    return statistics(metrics(request).registry, [get_served(request)])


for path in PATHS:
    for suffix, endpoint, summary in (
        ("", get_metadata, "A model's inputs and outputs"),
        ("/ready", get_ready, "The model is warm"),
        ("/config", get_configuration, "A model's configuration"),
        ("/stats", get_statistics, "What a model has done"),
    ):
        described = {"parameters": PARAMETERS[path]}
        router.get(path + suffix, summary=summary, responses=MODEL_ERRORS, openapi_extra=described)(endpoint)
