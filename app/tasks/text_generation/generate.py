"""`/v2/models/{model}/generate` and `/generate_stream`: Triton's way to ask for a text."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from app.api.dependencies import Headers, describe_fields, describe_name, get_deadline, join_options, schema_of
from app.api.disconnect import unless_disconnected
from app.api.event_stream import EventStream, describe_events, error_event, event
from app.api.open_inference.bodies import read_message
from app.api.open_inference.schemas import ERROR_RESPONSES, Message, Parameters
from app.api.open_inference.served import PATHS, VERSION, get_served
from app.api.state import settings
from app.api.validation import validate, without_nulls
from app.contract.manifest import ModelManifest
from app.errors import BadRequest
from app.runtime.generative_model import GenerativeModel
from app.tasks.text_generation.endpoints import write_text
from app.tasks.text_generation.pipeline import Piece, Texts
from app.tasks.text_generation.schemas import TextGenerationRequest


class GenerateRequest(Message):
    """`parameters` are the other fields of `POST /v1/text-generation/{model}`; they may stand beside text_input as well."""

    model_config = ConfigDict(extra="allow")

    id: str | None = Field(default=None, description="comes back with the answer")
    text_input: str = Field(description="what the text goes on from", examples=["Happy families "])
    parameters: Parameters | None = Field(default=None, examples=[{"max_tokens": 100, "temperature": 0.7, "seed": 1}])


class GenerateAnswer(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    text_output: str


EXAMPLE = {"text_input": "Happy families ", "parameters": {"max_tokens": 100, "temperature": 0.7, "seed": 1}}
REQUEST_BODY = {"required": True, "content": {"application/json": {"schema": schema_of(GenerateRequest), "example": EXAMPLE}}}

router = APIRouter(prefix="/v2", tags=["open inference protocol"], responses=ERROR_RESPONSES)


async def generate(request: Request) -> Response:
    """The whole text. `parameters`: `max_tokens`, `temperature`, `top_k`, `top_p`, `seed`, `stop`."""
    with ExitStack() as work:
        asked, manifest, texts = await _begin(request, work, stream=False)
        (piece,) = await unless_disconnected(request, texts.complete())
    return Response(_answer(asked, manifest, piece).model_dump_json(exclude_none=True), media_type="application/json")


async def generate_stream(request: Request) -> Response:
    """Server-sent events, each with the next piece of the text. An error after the first is an event as well."""
    with ExitStack() as work:
        asked, manifest, texts = await _begin(request, work, stream=True)
        failed = partial(error_event, request.url.path)
        return EventStream(_events(asked, manifest, texts), work.pop_all(), failed, settings(request).stream_ping_ms)


async def _begin(request: Request, work: ExitStack, stream: bool) -> tuple[GenerateRequest, ModelManifest, Texts]:
    model, deadline = get_served(request), get_deadline(request)
    if not isinstance(model, GenerativeModel):
        raise BadRequest(f"the model {model.name!r} writes no text; its tensors are for /infer")
    asked = await read_message(request, GenerateRequest)
    given = {"stream": stream} | join_options(without_nulls(asked.model_extra or {}), without_nulls(asked.parameters or {}))
    if "prompt" in given or given["stream"] is not stream:
        raise BadRequest("a prompt is text_input; a stream is asked for at /generate_stream, a whole text at /generate")
    body = validate(TextGenerationRequest, given | {"prompt": asked.text_input})
    _, texts = write_text(model, body, settings(request), deadline, work)
    return asked, model.manifest, texts


def _answer(asked: GenerateRequest, manifest: ModelManifest, piece: Piece) -> GenerateAnswer:
    return GenerateAnswer(model_name=manifest.name, model_version=manifest.version, id=asked.id, text_output=piece.text)


async def _events(asked: GenerateRequest, manifest: ModelManifest, texts: Texts) -> AsyncIterator[bytes]:
    async for pieces in texts.pieces():
        for _, piece in pieces:
            yield event(_answer(asked, manifest, piece).model_dump(exclude_none=True))


def _parameters(path: str) -> list[dict[str, Any]]:
    return [describe_name("anna"), *([VERSION] if "{version}" in path else []), *describe_fields("header", Headers)]


for path in PATHS:
    described: dict[str, Any] = {"parameters": _parameters(path), "requestBody": REQUEST_BODY}
    router.post(f"{path}/generate", summary="Write a text", response_model=GenerateAnswer, openapi_extra=described)(generate)
    router.post(
        f"{path}/generate_stream",
        summary="Write a text, piece by piece",
        response_class=Response,
        responses={200: describe_events({"model_name": "anna", "model_version": "1", "text_output": "are all "})},
        openapi_extra=described,
    )(generate_stream)
