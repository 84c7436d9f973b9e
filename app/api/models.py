"""Which models there are, and each one's card."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel
from starlette.requests import Request

from app.api.dependencies import VERSION, name_and_version, query_options, refuse_query
from app.api.error_handlers import ERROR_RESPONSES
from app.api.state import repository
from app.api.validation import NoOptions, validate
from app.contract.manifest import MANIFEST_FILE, ModelManifest
from app.runtime.pipeline import Servable

router = APIRouter(prefix="/v1/models", tags=["models"])


class ModelRef(BaseModel):
    """Which model answered."""

    name: str
    version: str


class ModelSummary(BaseModel):
    """One model: OpenAI's fields, then ours."""

    id: str
    object: Literal["model"] = "model"
    created: int  # Unix seconds of the training; where nobody knows them, of the manifest
    owned_by: str = "axon"
    task: str
    version: str
    versions: list[str]  # all that are served, the newest first
    title: str


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelSummary]


class ModelDetail(ModelSummary):
    card: ModelManifest
    execution_provider: dict[str, str]  # {"requested": ..., "actual": ...}


@router.get("", summary="The served models", responses={422: ERROR_RESPONSES[422]})
async def list_models(request: Request) -> ModelList:
    """Each with its newest version; the card of another one is at `/v1/models/{name}?version=`."""
    refuse_query(request)
    return ModelList(data=[ModelSummary(**_summary(request, model)) for model in repository(request).newest()])


@router.get("/{name}", summary="A model's card", responses={status: ERROR_RESPONSES[status] for status in (404, 422, 503)})
async def get_model_card(
    request: Request,
    name: Annotated[str, Path(json_schema_extra={"example": "skin-lesion"})],
    version: Annotated[str | None, Query(description=VERSION["description"])] = None,
) -> ModelDetail:
    """The manifest that lies beside the weights: data, metrics with intervals, provenance, licence, limitations.

    OpenAI's clients ask for a version as `name@version`.
    """
    validate(NoOptions, query_options(request))
    model = repository(request).get(*name_and_version(name, version))
    session = model.session
    providers = {"requested": session.requested_provider, "actual": session.actual_provider}
    return ModelDetail(**_summary(request, model), card=model.manifest, execution_provider=providers)


def _summary(request: Request, model: Servable) -> dict[str, Any]:
    manifest = model.manifest
    return {
        "id": manifest.name,
        "created": int(_created_at(model)),
        "task": manifest.task,
        "version": manifest.version,
        "versions": repository(request).versions(manifest.name),
        "title": manifest.title,
    }


def _created_at(model: Servable) -> float:
    if model.manifest.provenance is not None:
        return model.manifest.provenance.trained_at.timestamp()
    try:
        return (model.directory / MANIFEST_FILE).stat().st_mtime
    except OSError:  # the folder is gone, and the server was not told yet
        return 0.0


def model_ref(manifest: ModelManifest) -> ModelRef:
    return ModelRef(name=manifest.name, version=manifest.version)
