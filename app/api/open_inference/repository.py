"""`/v2/repository`: which models lie in the folder, and which of them are served."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from app.api.admin import require_admin
from app.api.dependencies import describe_name, schema_of
from app.api.open_inference.bodies import read_message
from app.api.open_inference.schemas import ERROR_RESPONSES, ChangeRequest, ErrorSentence, IndexEntry, IndexRequest
from app.api.state import repository
from app.api.validation import MAX_ECHO_CHARS
from app.errors import BadRequest, ModelRejected

State = Literal["READY", "LOADING", "UNAVAILABLE"]

STATES: dict[str, State] = {"ready": "READY", "loading": "LOADING", "refused": "UNAVAILABLE", "stuck": "READY"}

BODY_ERRORS: dict[int | str, dict[str, Any]] = {status: ERROR_RESPONSES[status] for status in (400, 413, 415, 429)}
CHANGE_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorSentence, "description": "The admin key is missing or wrong"},
    403: {"model": ErrorSentence, "description": "The server was started without AXON_ADMIN_KEY_FILE"},
    404: ERROR_RESPONSES[404],
    503: ERROR_RESPONSES[503],
}

router = APIRouter(prefix="/v2/repository", tags=["open inference protocol"], responses=BODY_ERRORS)


@router.post(
    "/index",
    summary="The models of the folder",
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": schema_of(IndexRequest)}}}},
)
async def get_index(request: Request) -> list[IndexEntry]:
    """Each version with its state, and why it is not served."""
    asked, found = await read_message(request, IndexRequest), repository(request)
    entries = [
        IndexEntry(name=status.name, version=status.version, state=STATES[status.state], reason=status.reason or "")
        for status in found.statuses()
    ]
    unserved = await found.unserved()
    entries += [IndexEntry(name=name, version=version, state="UNAVAILABLE", reason="not loaded") for name, version in unserved]
    return [entry for entry in entries if not asked.ready or entry.state == "READY"]


@router.post(
    "/models/{model}/unload",
    summary="Serve a model no longer",
    responses=CHANGE_ERRORS,
    response_class=Response,
    dependencies=[Depends(require_admin)],
    openapi_extra={"parameters": [describe_name("sentiment")]},
)
async def unload_model(request: Request) -> Response:
    """Requests that were accepted are still answered. The body of the answer is empty. Needs the admin key."""
    asked = await read_message(request, ChangeRequest)
    _refuse_parameters(asked, "unload_dependents")
    await repository(request).unload(request.path_params["model"])
    return Response(status_code=200)


@router.post(
    "/models/{model}/load",
    summary="Load what lies in a model's folder",
    responses=CHANGE_ERRORS,
    response_class=Response,
    dependencies=[Depends(require_admin)],
    openapi_extra={"parameters": [describe_name("sentiment")]},
)
async def load_model(request: Request) -> Response:
    """New versions are loaded, changed ones replaced, those that are gone unloaded. What is served goes on serving until its
    successor is warm, and stays when that is refused. Needs the admin key.

    A model comes from the server's own folder: files and configurations of clients are refused. The body of the
    answer is empty.
    """
    asked = await read_message(request, ChangeRequest)
    _refuse_parameters(asked)
    try:
        await repository(request).load(request.path_params["model"])
    except ModelRejected as error:
        raise BadRequest(f"{request.path_params['model']!r} was not loaded: {error}") from None
    return Response(status_code=200)


def _refuse_parameters(asked: ChangeRequest, *known: str) -> None:
    for name in asked.parameters or {}:
        if name not in known:
            kind = name.partition(":")[0][:MAX_ECHO_CHARS]  # "file" of "file:1/model.onnx"
            raise BadRequest(f"the parameter {kind!r} is refused: a model comes from the server's own folder, as it lies there")
