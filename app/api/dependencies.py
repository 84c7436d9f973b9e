"""What an endpoint of a task reads besides the body: the model in the path, options in the query, the deadline in a header.

Read by hand, and described for the documentation here: resolved by FastAPI they cost a quarter of the server's own
time a request, which `make bench` counts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, Field
from starlette.requests import Request

from app.api.state import draining, note_model, repository, settings
from app.api.validation import NoOptions, Whole, each_once, refuse_twice, validate
from app.errors import ModelNotReady
from app.runtime.pipeline import Servable

Options = TypeVar("Options", bound=BaseModel)
Served = TypeVar("Served", bound=Servable)


VERSION: dict[str, Any] = {
    "name": "version",
    "in": "query",
    "required": False,
    "description": "version of the model; by default the newest that is served",
    "schema": {"type": "string", "title": "Version"},
}


class Headers(BaseModel):
    """The headers that every task understands."""

    timeout_ms: Whole | None = Field(
        default=None, ge=1, le=3_600_000, alias="x-request-timeout-ms", description="give up after this many milliseconds (504)"
    )


def get_model(request: Request, task: str, kind: type[Served]) -> Served:
    """The model of `/v1/{task}/{model}?version=`. Raises ModelNotFound, which names those of this task, or ModelNotReady."""
    return find_model(request, request.path_params["model"], request.query_params.get(VERSION["name"]), task, kind)


def find_model(request: Request, name: str, version: str | None, task: str, kind: type[Served]) -> Served:
    """The same, where name and version stand elsewhere. `kind` is what the task's pipeline is served by."""
    model = repository(request).get(*name_and_version(name, version), task)
    note_model(request, model)
    check_accepting(request)
    assert isinstance(model, kind)
    return model


def name_and_version(name: str, version: str | None) -> tuple[str, str | None]:
    """Of a model: `anna@1` is version 1 of anna. Raises InvalidOption for a version that stands in both places."""
    name, at, named = name.partition("@")
    if not at:
        return name, version
    if version is not None:
        refuse_twice("version", {"version": named})
    return name, named


def check_accepting(request: Request) -> None:
    """Work that begins when the server was told to stop is for another one. Raises ModelNotReady."""
    if draining(request):
        raise ModelNotReady("the server is shutting down; send the request to another instance")


def get_options(request: Request, schema: type[Options]) -> Options:
    """The query as a schema. Raises InvalidOption."""
    return validate(schema, query_options(request))


def query_options(request: Request) -> dict[str, str]:
    """The query, but for the version, which says whose options these are. Raises InvalidOption for an option that comes twice."""
    options = each_once(request.query_params.multi_items())
    options.pop(VERSION["name"], None)
    return options


def join_options(query: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the query and those of the body. Raises InvalidOption for one that is in both."""
    for name in query:
        refuse_twice(name, body)
    return {**query, **body}


def refuse_query(request: Request) -> None:
    """For an operation without options. Raises InvalidOption."""
    if request.query_params:
        validate(NoOptions, each_once(request.query_params.multi_items()))


def with_query(request: Request, body: Options) -> Options:
    """A JSON body with the options that stand in the query instead. Raises InvalidOption."""
    query = query_options(request)
    if not query:
        return body
    return validate(type(body), join_options(query, body.model_dump(exclude_unset=True)), strict=False)


def get_deadline(request: Request) -> float:
    """The time.monotonic() instant after which no one waits for the answer. Raises InvalidOption."""
    asked = None
    if "x-request-timeout-ms" in request.headers:
        asked = validate(Headers, dict(request.headers)).timeout_ms
    return time.monotonic() + (asked or settings(request).request_timeout_ms) / 1000


def describe_model(example: str) -> list[dict[str, Any]]:
    """OpenAPI's words for what `get_model` reads."""
    return [describe_name(example) | {"description": "name of a served model, or name@version"}, VERSION]


def describe_name(example: str) -> dict[str, Any]:
    """OpenAPI's words for a model's name in the path."""
    description = "name of a served model"
    schema = {"type": "string", "title": "Model", "example": example}
    return {"name": "model", "in": "path", "required": True, "description": description, "schema": schema}


def describe_fields(place: str, schema: type[BaseModel]) -> list[dict[str, Any]]:
    """OpenAPI's words for parameters that a schema holds: `place` is "query" or "header"."""
    properties = schema_of(schema)["properties"]
    return [
        {"name": name, "in": place, "required": False, "description": field.get("description", ""), "schema": field}
        for name, field in properties.items()
    ]


def describe_alternatives(schema: type[BaseModel], but: Sequence[str]) -> list[dict[str, Any]]:
    """A JSON body's fields as `with_query` reads them. Without their defaults: Swagger UI would send those beside the body's."""
    fields = [field for field in describe_fields("query", schema) if field["name"] not in but]
    return [field | {"schema": {name: value for name, value in field["schema"].items() if name != "default"}} for field in fields]


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema with its parts in their places: in OpenAPI's document a reference to `#/$defs` leads nowhere."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})
    whole = _resolved(schema, parts)
    assert isinstance(whole, dict)
    return whole


def _resolved(schema: Any, parts: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_resolved(each, parts) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        schema = parts[schema["$ref"].rpartition("/")[2]] | {name: value for name, value in schema.items() if name != "$ref"}
    return {name: _resolved(value, parts) for name, value in schema.items()}
