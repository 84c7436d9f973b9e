"""The model and the version that a path names."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from app.api.dependencies import check_accepting, describe_name
from app.api.state import note_model, repository
from app.runtime.pipeline import Servable

PATHS = ("/models/{model}", "/models/{model}/versions/{version}")  # the newest version, or the one that is named

VERSION = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "version of the model",
    "schema": {"type": "string", "title": "Version", "example": "1"},
}
PARAMETERS: dict[str, list[dict[str, Any]]] = {
    path: [describe_name("sentiment"), *([VERSION] if "{version}" in path else [])] for path in PATHS
}


def get_served(request: Request) -> Servable:
    """Raises ModelNotFound, which names what there is, or ModelNotReady."""
    model = repository(request).get(request.path_params["model"], request.path_params.get("version"))
    note_model(request, model)
    check_accepting(request)
    return model
