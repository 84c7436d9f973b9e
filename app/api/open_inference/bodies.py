"""Bodies that are JSON or nothing, whatever their Content-Type says."""

from __future__ import annotations

from typing import TypeVar

from starlette.requests import Request

from app.api.bodies import read_body, refuse_encoding
from app.api.open_inference.schemas import Message
from app.api.state import settings
from app.api.validation import explain_place, validate_json

Schema = TypeVar("Schema", bound=Message)


async def read_message(request: Request, schema: type[Schema]) -> Schema:
    """An empty body has no fields. Raises BadRequest, InputTooLarge, UnsupportedMediaType."""
    body = await read_body(request, settings(request).max_json_bytes)
    refuse_encoding(request)
    return validate_json(schema, body.strip() or b"{}", explain_place)
