"""What clients of the protocol send and receive."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.contract.manifest import Datatype

Parameters = dict[str, Any]
Size = Annotated[int, Field(ge=0, lt=2**31)]
FIRST = Field(fail_fast=True)  # the first wrong element is enough: to collect a million of them takes seconds, and gigabytes

NOT_BAD: dict[str, JsonValue] = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Not bad at all."]}]}


class Message(BaseModel):
    """Numbers are numbers. Fields that only other servers know are let pass, as they let ours."""

    model_config = ConfigDict(strict=True)


class InferInput(Message):
    name: str
    shape: Annotated[list[Size], FIRST]
    datatype: Datatype
    parameters: Parameters | None = Field(default=None, description="`binary_data_size`: the tensor's bytes follow the JSON")
    data: list[Any] | None = Field(default=None, description="the elements, row-major, nested or flat")


class RequestedOutput(Message):
    name: str
    parameters: Parameters | None = Field(default=None, description="`binary_data`: as bytes behind the JSON")


class InferRequest(Message):
    model_config = ConfigDict(json_schema_extra={"example": NOT_BAD})

    id: str | None = Field(default=None, description="comes back with the answer")
    parameters: Parameters | None = Field(default=None, description="`binary_data_output`; `timeout`, in microseconds")
    inputs: Annotated[list[InferInput], FIRST]
    outputs: Annotated[list[RequestedOutput], FIRST] | None = Field(default=None, description="by default all")


class InferOutput(BaseModel):
    name: str
    datatype: Datatype
    shape: list[int]
    parameters: Parameters | None = None  # binary_data_size, in the place of data
    data: list[Any] | None = None  # flat, row-major


class InferAnswer(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]


class ServerMetadata(BaseModel):
    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    name: str
    datatype: Datatype
    shape: list[int]  # -1: an axis of any length


class ModelMetadata(BaseModel):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelNames(BaseModel):
    models: list[str]


class ServerLive(BaseModel):
    live: Literal[True] = True


class ServerReady(BaseModel):
    ready: Literal[True] = True


class ModelReady(ServerReady):
    name: str


class Duration(BaseModel):
    count: int
    ns: int


class InferenceStatistics(BaseModel):
    """All count requests, as Triton does."""

    success: Duration
    fail: Duration
    queue: Duration  # until the first run
    compute_input: Duration
    compute_infer: Duration  # from there to the last output; what several requests share counts for each
    compute_output: Duration


class ModelStatistics(BaseModel):
    name: str
    version: str
    inference_count: int  # rows
    execution_count: int  # runs
    inference_stats: InferenceStatistics


class Statistics(BaseModel):
    model_stats: list[ModelStatistics]


class IndexRequest(Message):
    model_config = ConfigDict(json_schema_extra={"example": {"ready": True}})

    ready: bool = Field(default=False, description="only models that answer")


class IndexEntry(BaseModel):
    name: str
    version: str
    state: Literal["READY", "LOADING", "UNAVAILABLE"]
    reason: str


class ChangeRequest(Message):
    parameters: Parameters | None = None


class ErrorSentence(BaseModel):
    """What every answer that is not a success looks like."""

    error: str


ERROR_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorSentence, "description": description}
    for status, description in {
        400: "The request does not fit the protocol, or the model",
        404: "There is no such model or version; the sentence names those that exist",
        413: "Too many bytes, rows, pixels, characters or texts",
        415: "The content encoding, or the picture's format, is not accepted",
        429: "The queue is full, or too many bodies arrive; see Retry-After",
        503: "The model is loading, was refused, or the server is shutting down",
        504: "The deadline passed",
    }.items()
}
MODEL_ERRORS: dict[int | str, dict[str, Any]] = {status: ERROR_RESPONSES[status] for status in (404, 503)}
