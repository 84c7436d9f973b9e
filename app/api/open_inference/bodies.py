"""Bodies that are JSON or nothing, whatever their Content-Type says."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from starlette.requests import Request

from app.api.bodies import read_body
from app.api.open_inference.schemas import Message
from app.api.state import settings
from app.api.validation import check_collections, explain_failure, explain_place, without_collections

Schema = TypeVar("Schema", bound=Message)


async def read_message(request: Request, schema: type[Schema]) -> Schema:
    """An empty body has no fields. Raises BadRequest, InputTooLarge."""
    body = await read_body(request, settings(request).max_json_bytes)
    check_collections(body)
    try:
        with without_collections():
            return schema.model_validate_json(body.strip() or b"{}")
    except ValidationError as error:
        raise explain_failure(error, explain_place) from None
