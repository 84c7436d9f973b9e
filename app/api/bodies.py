"""Request bodies: read under a limit, then taken apart by their content type."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from app.api.state import incoming, settings
from app.api.validation import each_once, validate_json
from app.contract.images import MEDIA_TYPES
from app.errors import BadRequest, InputTooLarge, UnsupportedMediaType, UploadsFull

Model = TypeVar("Model", bound=BaseModel)

MAX_FORM_FIELDS = 16
MAX_JSON_VALUES = 100  # beside the picture, whose base64 has no commas
FREE_BYTES = 64 * 1024  # of each body, for which there is always room: uvicorn holds as much of a connection
RETRY_AFTER_S = 1  # how long the others take is up to their clients
LINGER_FACTOR = 4  # of an oversized body, up to this many limits are read and thrown away, so that the client hears the 413


@dataclass(frozen=True, slots=True)
class ImageBody:
    """An encoded picture, and the options that came beside it in the body."""

    data: bytes
    options: dict[str, Any] = field(default_factory=dict)


def describe_image(example: str) -> dict[str, Any]:
    """OpenAPI's words for the body that `read_image` reads; `example` is the base64 of a picture."""
    binary = {"type": "string", "format": "binary"}
    base64_image = {"type": "string", "format": "byte", "description": "base64 of a JPEG, PNG or WebP"}
    options = {"description": "any option of the query"}
    as_json = {"type": "object", "required": ["image"], "properties": {"image": base64_image}, "additionalProperties": options}
    as_form = {"type": "object", "required": ["image"], "properties": {"image": binary}}
    return {
        "required": True,
        "content": {
            "application/json": {"schema": as_json, "example": {"image": example}},
            "multipart/form-data": {"schema": as_form},
            **{kind: {"schema": binary} for kind in MEDIA_TYPES},
        },
    }


class _ImageJson(BaseModel):
    model_config = ConfigDict(extra="allow")

    image: str


async def read_body(request: Request, max_bytes: int | None = None) -> bytes:
    """The whole body, streamed or not. Raises InputTooLarge, and BadRequest for one that trickles in for ever."""
    limit = settings(request).max_body_bytes if max_bytes is None else min(max_bytes, settings(request).max_body_bytes)
    timeout_ms = settings(request).request_timeout_ms
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            return await _read_limited(request, limit)
    except TimeoutError:
        raise BadRequest(f"the body did not arrive within {timeout_ms / 1000:g} s") from None


async def _read_limited(request: Request, limit: int) -> bytes:
    """What is refused is read on to its end, but not kept. Raises InputTooLarge, UploadsFull."""
    everyones = incoming(request)
    body = bytearray()
    received = counted = 0
    is_kept = True
    try:
        async for chunk in request.stream():
            received += len(chunk)
            more = max(0, received - FREE_BYTES) - counted
            if is_kept and received <= limit and everyones.has_room(more):
                body += chunk
                everyones.nbytes += more
                counted += more
            else:
                is_kept = False
                body.clear()
            if received > limit * LINGER_FACTOR:
                break
    finally:
        everyones.nbytes -= counted
    if received > limit:
        raise InputTooLarge(f"the body is larger than {limit:,} bytes")
    if not is_kept:
        raise UploadsFull(RETRY_AFTER_S)
    return bytes(body)


def refuse_encoding(request: Request) -> None:
    """Raises UnsupportedMediaType for a body that is compressed."""
    if request.headers.get("content-encoding", "").strip().lower() not in ("", "identity"):
        raise UnsupportedMediaType("send the body as it is: a Content-Encoding is only for /v2/models/{model}/infer")


async def read_json(request: Request, model: type[Model]) -> Model:
    """A JSON body as a schema. Raises UnsupportedMediaType, InputTooLarge, BadRequest, InvalidOption."""
    body = await read_body(request, settings(request).max_json_bytes)
    refuse_encoding(request)
    media_type = _media_type(request)
    if media_type != "application/json":
        raise UnsupportedMediaType(f"send application/json, not {media_type or 'a body without Content-Type'}")
    return validate_json(model, body)


async def read_image(request: Request) -> ImageBody:
    """A picture as a raw image/* body, as the multipart field `image`, or as base64 in JSON.

    Raises UnsupportedMediaType, InputTooLarge, BadRequest, InvalidOption for a field of a form that comes twice.
    """
    body = await read_body(request)
    refuse_encoding(request)
    media_type = _media_type(request)
    if not body:
        raise BadRequest("the body is empty; send a JPEG, PNG or WebP picture", param="image")
    if media_type in MEDIA_TYPES or media_type == "image/jpg":  # what many clients call it
        return ImageBody(body)
    if media_type == "multipart/form-data":
        return await _read_multipart(request, body)
    if media_type == "application/json":
        if body.count(b",") > MAX_JSON_VALUES:
            raise BadRequest(f"the JSON has more than {MAX_JSON_VALUES} values; send image, and the options of the query")
        return _read_base64(validate_json(_ImageJson, body))
    raise UnsupportedMediaType(
        f"send {', '.join(MEDIA_TYPES)}, multipart/form-data or application/json, not {media_type or 'a body without Content-Type'}"
    )


def _media_type(request: Request) -> str:
    """The content type without its parameters, cut to a sane length."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()[:64]


async def _read_multipart(request: Request, body: bytes) -> ImageBody:
    async def one_chunk() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(request.headers, one_chunk(), max_files=1, max_fields=MAX_FORM_FIELDS, max_part_size=len(body))
    parser.spool_max_size = len(body) + 1  # never to disk: no picture is left there, and a read-only root works
    try:
        if not body.rstrip().endswith(b"--"):
            raise MultiPartException("the closing boundary is missing")
        form = each_once((await parser.parse()).multi_items())
        image = form.get("image")
        data = await image.read() if isinstance(image, UploadFile) else None
    except MultiPartException as error:
        if "Too many" in error.message:
            raise BadRequest(f"a form may have one file and {MAX_FORM_FIELDS} other fields at most") from None
        raise BadRequest("the multipart body is malformed; send one file in the field 'image'") from None
    finally:
        for file in parser._files_to_close_on_error:  # with that of a part without an end, which no form has
            file.close()
    options = {name: value for name, value in form.items() if isinstance(value, str) and name != "image"}
    if not data:
        problem = "has no file in the field 'image'" if data is None else "has an empty file in the field 'image'"
        raise BadRequest(f"the form {problem}", param="image")
    return ImageBody(data, options)


def _read_base64(body: _ImageJson) -> ImageBody:
    text = body.image
    if text.startswith("data:"):  # a data URL, as a browser's FileReader gives it
        text = text.partition(",")[2]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)  # `base64 file` breaks its lines
    except (binascii.Error, ValueError):
        raise BadRequest("image is not valid base64", param="image") from None
    if not data:
        raise BadRequest("image is empty", param="image")
    return ImageBody(data, {name: value for name, value in (body.model_extra or {}).items() if value is not None})
