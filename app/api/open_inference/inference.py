"""`POST /v2/models/{model}/infer`: tensors in, tensors out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.bodies import read_body
from app.api.dependencies import Headers, describe_fields, get_deadline, schema_of
from app.api.disconnect import unless_disconnected
from app.api.open_inference.compression import accepted_encoding, compress, decompress
from app.api.open_inference.messages import Inference, decode, encode
from app.api.open_inference.schemas import ERROR_RESPONSES, InferAnswer, InferRequest
from app.api.open_inference.served import PARAMETERS, PATHS, get_served
from app.api.state import settings
from app.errors import BadRequest, InputTooLarge
from app.runtime.pipeline import Servable, Tensors

Result = TypeVar("Result")

JSON_BYTES = "Inference-Header-Content-Length"
INLINE_BYTES = 64 * 1024  # decoded in less time than the way to a thread and back: a row of pixels, a few thousand numbers

router = APIRouter(prefix="/v2", tags=["open inference protocol"], responses=ERROR_RESPONSES)

BINARY: dict[str, Any] = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary", "description": "JSON, then tensors"}}
}
REQUEST_BODY = {"required": True, "content": {"application/json": {"schema": schema_of(InferRequest)}, **BINARY}}
SIZE = {"schema": {"type": "integer", "minimum": 0}, "description": "bytes of JSON before the tensors; left out where all is JSON"}
HEADERS: list[dict[str, Any]] = [
    {"name": JSON_BYTES, "in": "header", "required": False} | SIZE,
    *describe_fields("header", Headers),
]


async def infer(request: Request) -> Response:
    """The graph's outputs for its own inputs. JSON and binary tensors, gzip and deflate, as Triton's clients send them.

    In the place of the graph's inputs a model of pictures takes `image`, BYTES: whole JPEG, PNG or WebP files, as binary data,
    since JSON's strings cannot carry their bytes. A model that draws takes its default choice for them: others are asked for
    by `pixel_values` and `condition`. A model that classifies texts takes `text`. Both go through the preprocessing that the
    model was trained with. The outputs are the graph's: logits, where `/v1` answers probabilities and decisions, or the
    picture that was drawn, `reconstruction`.
    """
    model, deadline = get_served(request), get_deadline(request)
    body = await read_body(request)
    size = INLINE_BYTES + 1 if "content-encoding" in request.headers else len(body)
    inference = await _where_it_fits(size, partial(_decode, request, model, body))
    if inference.timeout_us:
        deadline = min(deadline, time.monotonic() + inference.timeout_us / 1e6)
    tensors = await unless_disconnected(request, model.infer(inference.inputs, deadline))
    size = sum(tensor.nbytes for tensor in tensors.values())
    return await _where_it_fits(size, partial(_encode, request, model, inference, tensors))


async def _where_it_fits(size: int, work: Callable[[], Result]) -> Result:
    """Small work here, large work off the event loop."""
    return work() if size <= INLINE_BYTES else await asyncio.to_thread(work)


def _decode(request: Request, model: Servable, body: bytes) -> Inference:
    encoding = request.headers.get("content-encoding", "").strip().lower()
    content, json_bytes = decompress(body, encoding, settings(request).max_body_bytes), _json_bytes(request)
    if min(len(content), len(content) if json_bytes is None else json_bytes) > (limit := settings(request).max_json_bytes):
        raise InputTooLarge(f"the JSON is larger than {limit:,} bytes; send large tensors as binary data")
    return decode(content, json_bytes, model.manifest.graphs["model"], model.pipeline.encoded_input)


def _json_bytes(request: Request) -> int | None:
    """How much of the body is JSON, as it is without compression; None where nothing is said. Raises BadRequest."""
    value = request.headers.get(JSON_BYTES)
    if value is not None and not (value.isascii() and value.isdigit() and len(value) < 16):
        raise BadRequest(f"{JSON_BYTES} must be a whole number, at least 0")
    return None if value is None else int(value)


def _encode(request: Request, model: Servable, inference: Inference, tensors: Tensors) -> Response:
    body, json_bytes = encode(inference, model.manifest, tensors)
    headers = {"Content-Type": "application/json", "Vary": "Accept-Encoding"}
    if json_bytes is not None:
        headers |= {"Content-Type": "application/octet-stream", JSON_BYTES: str(json_bytes)}
    encoding = accepted_encoding(request.headers.get("accept-encoding", ""))
    if encoding is not None:
        body, headers["Content-Encoding"] = compress(body, encoding), encoding
    return Response(body, headers=headers)


for path in PATHS:
    router.post(
        f"{path}/infer",
        summary="Run a model on tensors",
        response_model=InferAnswer,
        responses={200: {"content": BINARY, "headers": {JSON_BYTES: SIZE}}},
        openapi_extra={"parameters": [*PARAMETERS[path], *HEADERS], "requestBody": REQUEST_BODY},
    )(infer)
