"""Whole requests and answers: JSON, and behind it the tensors that come as bytes. Knows no HTTP."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json

from app.api.open_inference.schemas import InferInput, InferRequest, Parameters
from app.api.open_inference.tensors import from_binary, from_json, to_binary, to_json_numbers
from app.api.validation import MAX_ECHO_CHARS, explain_place, validate_json
from app.contract.manifest import Graph, ModelManifest, TensorSpec
from app.errors import BadRequest
from app.runtime.pipeline import Tensors

FILES = ("image", "BYTES")  # the input of every pipeline that takes encoded pictures


@dataclass(frozen=True, slots=True)
class Inference:
    """A request that fits the model, and how its answer is to be written."""

    inputs: Tensors
    outputs: dict[str, bool]  # name -> as bytes; in the order of the answer
    id: str | None = None
    timeout_us: int = 0  # 0: none


def decode(body: bytes, json_bytes: int | None, graph: Graph, encoded_input: TensorSpec | None) -> Inference:
    """`json_bytes` of the body are JSON, the tensors follow; None: it is all JSON; 0: it is the only tensor. Raises BadRequest."""
    if json_bytes == 0:
        return _decode_raw(body, graph)
    if json_bytes is not None and json_bytes > len(body):
        raise BadRequest(f"{json_bytes:,} bytes of JSON are announced, the body has {len(body):,} bytes")
    request = validate_json(InferRequest, body[:json_bytes], explain_place)
    parameters = _parameters(request.parameters, ("binary_data_output", "timeout"))
    return Inference(
        inputs=_inputs(request, graph, encoded_input, memoryview(body)[len(body) if json_bytes is None else json_bytes :]),
        outputs=_outputs(request, graph, _parameter(parameters, "binary_data_output", False)),
        id=request.id,
        timeout_us=_parameter(parameters, "timeout", 0),
    )


def encode(inference: Inference, manifest: ModelManifest, tensors: Tensors) -> tuple[bytes, int | None]:
    """The answer's body, and how many bytes of it are JSON; None: all."""
    datatypes = {spec.name: spec.datatype for spec in manifest.graphs["model"].outputs}
    outputs, blobs = [], []
    for name, binary in inference.outputs.items():
        array = tensors[name]
        output: dict[str, Any] = {"name": name, "datatype": datatypes[name], "shape": array.shape}
        if binary:
            blobs.append(to_binary(array))
            outputs.append(to_json(output | {"parameters": {"binary_data_size": len(blobs[-1])}}))
        else:
            outputs.append(_with(to_json(output), "data", to_json_numbers(array)))
    answer: dict[str, Any] = {"model_name": manifest.name, "model_version": manifest.version}
    if inference.id is not None:
        answer["id"] = inference.id
    head = _with(to_json(answer), "outputs", b"[" + b",".join(outputs) + b"]")
    return b"".join([head, *blobs]), len(head) if blobs else None


def _with(json_object: bytes, name: str, json_value: bytes) -> bytes:
    """The object with one field more."""
    return b"".join([json_object[:-1], f',"{name}":'.encode(), json_value, b"}"])


def _decode_raw(body: bytes, graph: Graph) -> Inference:
    """A body that is one tensor and nothing else: how many rows it has follows from its size."""
    spec = graph.inputs[0]
    row_bytes = math.prod(spec.shape[1:]) * spec.dtype.itemsize
    if len(graph.inputs) != 1 or min(spec.shape[1:], default=1) < 1:
        raise BadRequest("a body without JSON is for a model with one input whose axes, but for the first, are fixed")
    if len(body) % row_bytes:
        raise BadRequest(f"the body has {len(body):,} bytes, which is no multiple of a row's {row_bytes:,}")
    rows = from_binary(spec, (len(body) // row_bytes, *spec.shape[1:]), memoryview(body))
    return Inference({spec.name: rows}, {output.name: True for output in graph.outputs})


def _inputs(request: InferRequest, graph: Graph, encoded_input: TensorSpec | None, blobs: memoryview) -> Tensors:
    specs, tensors = _expected(request, graph, encoded_input), {}
    for tensor in request.inputs:
        if tensor.name in tensors:
            raise BadRequest(f"the input {tensor.name!r} comes twice")
        spec = specs[tensor.name]
        _check_fit(tensor, spec)
        size = _parameter(_parameters(tensor.parameters, ("binary_data_size",)), "binary_data_size", None)
        tensors[spec.name] = _read(tensor, spec, None if size is None else blobs[:size], size)
        blobs = blobs[size or 0 :]
    missing = [name for name in specs if name not in tensors]
    if missing:
        raise BadRequest(f"the input {missing[0]!r} is missing")
    if blobs:
        raise BadRequest(f"bytes left behind the last tensor: {len(blobs):,}")
    return tensors


def _expected(request: InferRequest, graph: Graph, encoded_input: TensorSpec | None) -> Mapping[str, TensorSpec]:
    """The inputs that belong together: the graph's, or the one that the pipeline encodes."""
    names = [tensor.name for tensor in request.inputs]
    specs = {spec.name: spec for spec in graph.inputs}
    if encoded_input is not None and encoded_input.name in names:
        if {*names} & {*specs} - {encoded_input.name}:
            raise BadRequest(f"give either {encoded_input.name}, or {' and '.join(specs)}, not both")
        specs = {encoded_input.name: encoded_input}
    for name in names:
        if name not in specs:
            instead = "" if encoded_input is None else f", or {_listed([encoded_input])}"
            raise BadRequest(f"there is no place for {name[:MAX_ECHO_CHARS]!r} here; the model takes {_listed(graph.inputs)}{instead}")
    return specs


def _check_fit(tensor: InferInput, spec: TensorSpec) -> None:
    if tensor.datatype != spec.datatype:
        raise BadRequest(f"the input {spec.name!r} is {spec.datatype}, not {tensor.datatype}")
    fits = len(tensor.shape) == len(spec.shape) and all(wanted in (-1, size) for wanted, size in zip(spec.shape, tensor.shape, strict=True))
    if not fits:
        raise BadRequest(f"the input {spec.name!r} has the shape {list(spec.shape)}, which {tensor.shape[:8]} does not fit")


def _read(tensor: InferInput, spec: TensorSpec, blob: memoryview | None, size: int | None) -> Any:
    if (tensor.data is None) == (blob is None):
        raise BadRequest(f"the input {spec.name!r} needs data, or binary_data_size and bytes behind the JSON: one of the two")
    if blob is None and (spec.name, spec.datatype) == FILES:
        raise BadRequest(
            f"the input {spec.name!r} is whole files: send them as binary data, with binary_data_size; JSON cannot carry their bytes"
        )
    if blob is None:
        return from_json(spec, tensor.shape, tensor.data or [])
    if len(blob) != size:
        raise BadRequest(f"the input {spec.name!r} announces {size:,} bytes; {len(blob):,} are left in the body")
    return from_binary(spec, tensor.shape, blob)


def _outputs(request: InferRequest, graph: Graph, binary: bool) -> dict[str, bool]:
    names = [spec.name for spec in graph.outputs]
    if not request.outputs:
        return dict.fromkeys(names, binary)
    outputs: dict[str, bool] = {}
    for output in request.outputs:
        if output.name not in names:
            raise BadRequest(f"there is no output {output.name[:MAX_ECHO_CHARS]!r}; the model gives {_listed(graph.outputs)}")
        if output.name in outputs:
            raise BadRequest(f"the output {output.name!r} is asked for twice")
        outputs[output.name] = _parameter(_parameters(output.parameters, ("binary_data",)), "binary_data", binary)
    return outputs


def _parameters(given: Parameters | None, known: Sequence[str]) -> Parameters:
    """What we do not know we cannot obey: better refused than ignored."""
    for name in given or {}:
        if name not in known:
            raise BadRequest(f"there is no parameter {name[:MAX_ECHO_CHARS]!r} here; known: {', '.join(known)}")
    return given or {}


def _parameter(parameters: Parameters, name: str, default: Any) -> Any:
    """Of the default's type; a number, if there is none, is a size."""
    value = parameters.get(name, default)
    if type(default) is bool and type(value) is not bool:
        raise BadRequest(f"the parameter {name!r} must be true or false")
    if type(default) is not bool and value is not default and (type(value) is not int or not 0 <= value < 2**63):
        raise BadRequest(f"the parameter {name!r} must be a whole number, at least 0 and below 2**63")
    return value


def _listed(specs: Iterable[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} ({spec.datatype})" for spec in specs)
