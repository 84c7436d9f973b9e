"""One tensor as JSON and as bytes: little-endian and row-major; an element of BYTES is its length, 4 bytes, and itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from app.contract.manifest import TensorSpec
from app.errors import BadRequest

LENGTH_BYTES = 4
PIECE = 16 * 1024  # numbers that are written without a pause

_JSON_TYPES: dict[str, tuple[set[type], str]] = {  # by numpy's letter for the kind of a type
    "b": ({bool}, "true and false"),
    "i": ({int}, "whole numbers"),
    "u": ({int}, "whole numbers"),
    "f": ({int, float}, "numbers"),
    "O": ({str}, "strings"),
}


def from_json(spec: TensorSpec, shape: Sequence[int], data: list[Any]) -> NDArray[Any]:
    """JSON's values, nested as the shape is or flat. Raises BadRequest."""
    types, words = _JSON_TYPES[spec.dtype.kind]
    values = _flat(spec, shape, data)
    if not set(map(type, values)) <= types:
        raise BadRequest(f"the data of {spec.name!r} must be {words}: it is {spec.datatype}")
    if spec.datatype == "BYTES":
        return _shaped(spec, shape, _objects([value.encode("utf-8") for value in values]))
    try:
        with np.errstate(over="raise"):
            return _shaped(spec, shape, np.array(values, dtype=spec.dtype))
    except (OverflowError, FloatingPointError):
        raise BadRequest(f"the data of {spec.name!r} has a number that {spec.datatype} cannot hold") from None


def from_binary(spec: TensorSpec, shape: Sequence[int], blob: memoryview) -> NDArray[Any]:
    """The bytes of a tensor, copied: they need not lie where numbers may. Raises BadRequest."""
    if spec.datatype == "BYTES":
        return _shaped(spec, shape, _objects(_elements(spec, math.prod(shape), blob)))
    expected = math.prod(shape) * spec.dtype.itemsize
    if len(blob) != expected:
        raise BadRequest(f"the data of {spec.name!r} has {len(blob):,} bytes; {list(shape)} of {spec.datatype} have {expected:,}")
    if spec.datatype == "BOOL" and blob and max(blob) > 1:
        raise BadRequest(f"the data of {spec.name!r} must be bytes of 0 and 1: it is BOOL")
    return _shaped(spec, shape, np.frombuffer(blob, spec.dtype.newbyteorder("<")).astype(spec.dtype))


def to_binary(array: NDArray[Any]) -> bytes:
    """Numbers only: no graph that the server runs gives BYTES."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def to_json_numbers(array: NDArray[Any]) -> bytes:
    """A flat JSON list, made in pieces: other threads, the event loop's before all, come to their turn between two of them."""
    flat = array.ravel()
    pieces = (flat[start : start + PIECE].tolist() for start in range(0, flat.size, PIECE))
    return b"[" + b",".join(to_json(piece, inf_nan_mode="constants")[1:-1] for piece in pieces) + b"]"


def _flat(spec: TensorSpec, shape: Sequence[int], data: list[Any]) -> list[Any]:
    values, sizes = data, shape if list in set(map(type, data)) else ()
    if sizes and len(values) != sizes[0]:
        raise _mismatch(spec, shape)
    for size in sizes[1:]:
        if not all(type(part) is list and len(part) == size for part in values):
            raise _mismatch(spec, shape)
        values = list(chain.from_iterable(values))
    if len(values) != math.prod(shape):
        raise _mismatch(spec, shape)
    return values


def _elements(spec: TensorSpec, count: int, blob: memoryview) -> list[bytes]:
    """The elements of BYTES."""
    elements: list[bytes] = []
    start = 0
    while start < len(blob) and len(elements) < count:
        begin = start + LENGTH_BYTES
        start = begin + int.from_bytes(blob[start:begin], "little")
        elements.append(bytes(blob[begin:start]))
    if start != len(blob) or len(elements) != count:
        raise BadRequest(f"the data of {spec.name!r} is not {count:,} elements, each its length in {LENGTH_BYTES} bytes and itself")
    return elements


def _objects(values: list[bytes]) -> NDArray[np.object_]:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array


def _shaped(spec: TensorSpec, shape: Sequence[int], array: NDArray[Any]) -> NDArray[Any]:
    try:
        return array.reshape(shape)
    except ValueError:  # no elements, and axes that are too long for any array
        raise _mismatch(spec, shape) from None


def _mismatch(spec: TensorSpec, shape: Sequence[int]) -> BadRequest:
    return BadRequest(f"the data of {spec.name!r} is not of the shape {list(shape)}")
