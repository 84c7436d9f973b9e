"""pydantic's findings in our own words: which field, what is wrong, what would be right."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator

from app.errors import BadRequest, InputTooLarge, InvalidOption, ServingError

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")
Words = Callable[[Sequence[Mapping[str, Any]]], ServingError]

MAX_ECHO_CHARS = 64
MAX_FINDINGS = 1000
MAX_COLLECTIONS = 100_000  # of JSON: they take much longer to make than numbers, and nothing else is answered meanwhile

_WORDS = {
    "missing": "is required",
    "extra_forbidden": "is not an option here",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a string",
    "string_unicode": "must be valid Unicode text",
    "list_type": "must be a list",
    "literal_error": "must be one of {expected}",
    "enum": "must be one of {expected}",
    "too_short": "needs at least {min_length} entries",
    "string_too_short": "must not be empty",
    "string_too_long": "takes at most {max_length} characters",
    "too_long": "takes at most {max_length} entries",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "json_invalid": "is not valid JSON",
    "dict_type": "must be an object",
    "path_not_file": "must be a file that can be read",
    "path_not_directory": "must be a folder that exists",
    "value_error": "{error}",
}


def _whole(value: Any) -> Any:
    """JSON Schema calls 3.0 an integer."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return _plain(value, "must be a whole number")


def _real(value: Any) -> Any:
    return _plain(value, "must be a number")


def _plain(value: Any, problem: str) -> Any:
    """pydantic reads 1_000 in a string as Python does, and no one means 5 by 0_5."""
    if isinstance(value, str) and "_" in value:
        raise ValueError(problem)
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
Real = Annotated[float, BeforeValidator(_real)]


def without_nulls(fields: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in fields.items() if value is not None}


class JsonFields(BaseModel):
    """A JSON object of which nothing is guessed: no unknown field, no number in a string. A null is a field that was left out."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        return without_nulls(fields) if isinstance(fields, dict) else fields


class Options(BaseModel):
    """What may stand in a query, in a form or in JSON: a number may be a string, but `true` is none."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        field = cls.model_fields[info.field_name or ""]
        if isinstance(value, bool) and field.annotation is not bool:
            raise ValueError("must not be true or false")
        return value


class NoOptions(Options):
    """Where nothing may stand."""


def refuse_twice(name: str, given: Mapping[str, Any]) -> None:
    """Raises InvalidOption for an option that was given already."""
    if name in given:
        name = name[:MAX_ECHO_CHARS]
        raise InvalidOption(f"{name} is given twice; which one is meant?", param=name)


def each_once(items: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """Options of a query or a form. Raises InvalidOption for one that comes twice."""
    options: dict[str, Value] = {}
    for name, value in items:
        refuse_twice(name, options)
        options[name] = value
    return options


def check_collections(body: bytes) -> None:
    """Before it is taken apart; brackets in strings count too. Raises InputTooLarge."""
    if body.count(b"[") + body.count(b"{") > MAX_COLLECTIONS:
        raise InputTooLarge(f"the JSON has more than {MAX_COLLECTIONS:,} lists and objects; send flat lists, or fewer")


def explain(errors: Sequence[Mapping[str, Any]]) -> ServingError:
    """The first finding as one of our errors: 400 for JSON that does not parse, else 422. The message names the whole way to it,
    "stream_options.include_usage must be true or false", and `param` the field of the body that it is in.
    """
    first = errors[0]
    if first["type"] == "json_invalid":
        return BadRequest("the body is not valid JSON (UTF-8, no lone surrogates, at most 200 levels deep)")
    place, words = _text_or_texts(errors) or (first["loc"], _WORDS.get(first["type"], "is not valid").format(**first.get("ctx", {})))
    if len(place) > 1 and place[0] in ("query", "path", "header", "body"):  # where FastAPI found the field
        place = place[1:]
    if not place:
        return BadRequest(f"the body {words}")
    name = ".".join(map(str, place))
    return InvalidOption(f"{name[:MAX_ECHO_CHARS]} {words}", param=str(place[0])[:MAX_ECHO_CHARS])


def _text_or_texts(errors: Sequence[Mapping[str, Any]]) -> tuple[Sequence[str | int], str] | None:
    """(place, words) where a string or a list of strings may stand: pydantic has a finding for each, under names of its own."""
    if errors[0]["type"] != "string_type" or [error["loc"][1:2] for error in errors[:2]] != [("str",), ("list[str]",)]:
        return None
    field, _, *element = errors[1]["loc"]
    return (field, *element), "must be a string" if element else "must be a string or a list of strings"


def explain_place(errors: Sequence[Mapping[str, Any]]) -> BadRequest:
    """As `explain`, where 400 is the only status and the message all that is said."""
    return BadRequest(explain(errors).message)


def explain_failure(error: ValidationError, words: Words = explain) -> ServingError:
    """As `explain`, but for so many findings that to list them would take longer than all else."""
    count = error.error_count()
    return words(error.errors()) if count <= MAX_FINDINGS else BadRequest(f"the body has {count:,} mistakes")


@contextmanager
def without_collections() -> Iterator[None]:
    """A hundred thousand new lists would be looked through for cycles again and again: three times the time, and there are none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def validate(model: type[Model], values: Mapping[str, Any], strict: bool | None = None) -> Model:
    """Fields to a schema; `strict` other than the schema's own says whether a number may stand in a string. Raises InvalidOption."""
    try:
        return model.model_validate(values, strict=strict)
    except ValidationError as error:
        raise explain_failure(error) from None


def validate_json(model: type[Model], body: bytes, words: Words = explain) -> Model:
    """A JSON body to a schema; `words` say what is wrong with it. Raises BadRequest, InputTooLarge or InvalidOption."""
    if not body.strip():
        raise BadRequest("the body is empty; send a JSON object")
    check_collections(body)
    try:
        with without_collections():
            return model.model_validate_json(body)
    except ValidationError as error:
        raise explain_failure(error, words) from None
