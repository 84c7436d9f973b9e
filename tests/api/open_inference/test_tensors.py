"""One tensor there and back, held against what Triton's client writes and reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

from app.api.open_inference.tensors import from_binary, from_json, to_binary
from app.contract.manifest import TensorSpec
from app.errors import BadRequest

NUMBERS: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "UINT8": [0, 255],
    "UINT16": [0, 2**16 - 1],
    "UINT32": [0, 2**32 - 1],
    "UINT64": [0, 2**64 - 1],
    "INT8": [-(2**7), 2**7 - 1],
    "INT16": [-(2**15), 2**15 - 1],
    "INT32": [-(2**31), 2**31 - 1],
    "INT64": [-(2**63), 2**63 - 1],
    "FP16": [-0.5, 65504],
    "FP32": [-0.5, 2**100],
    "FP64": [-0.1, 1e300],
}


def spec(datatype: str) -> TensorSpec:
    return TensorSpec(name="x", datatype=datatype, shape=(-1,))  # type: ignore[arg-type]


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_arrive_as_they_were_in_both_forms(datatype: str) -> None:
    values = np.array(NUMBERS[datatype], dtype=spec(datatype).dtype)
    assert np_to_triton_dtype(values.dtype) == datatype
    for array in (from_json(spec(datatype), [2], NUMBERS[datatype]), from_binary(spec(datatype), [2], memoryview(values.tobytes()))):
        assert array.dtype == values.dtype
        assert array.tolist() == values.tolist()
        assert to_binary(array) == values.tobytes()


def test_bytes_arrive_as_they_were_in_both_forms() -> None:
    values = np.array([b"", "é\N{GRINNING FACE}".encode(), b"\0a"], dtype=np.object_)
    blob = memoryview(serialize_byte_tensor(values).item())
    assert from_binary(spec("BYTES"), [3], blob).tolist() == values.tolist()
    assert from_json(spec("BYTES"), [3], ["", "é\N{GRINNING FACE}", "\0a"]).tolist() == values.tolist()


def test_a_number_that_is_none_is_a_number() -> None:
    nan, infinity = float("nan"), float("inf")
    for datatype in ("FP16", "FP32", "FP64"):
        assert np.isnan(from_json(spec(datatype), [2], [nan, infinity])).tolist() == [True, False]
        blob = memoryview(np.array([nan, infinity], spec(datatype).dtype).tobytes())
        assert np.isinf(from_binary(spec(datatype), [2], blob)).tolist() == [False, True]


@pytest.mark.parametrize("offset", [0, 1, 3])
def test_a_tensor_is_laid_where_numbers_may_lie(offset: int) -> None:
    blob = memoryview(b"x" * offset + np.arange(3).tobytes())[offset:]
    array = from_binary(spec("INT64"), [3], blob)
    assert array.flags.aligned
    assert array.flags.writeable
    assert array.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("shape", "data"), [([2, 2], [[1, 2], [3, 4]]), ([2, 2], [1, 2, 3, 4]), ([1, 2, 2], [[[1, 2], [3, 4]]]), ([4], [1, 2, 3, 4])]
)
def test_data_may_be_nested_or_flat(shape: list[int], data: list[Any]) -> None:
    assert from_json(spec("INT64"), shape, data).ravel().tolist() == [1, 2, 3, 4]
    assert list(from_json(spec("INT64"), shape, data).shape) == shape


@pytest.mark.parametrize("shape", [[0], [0, 3], [2, 0], [0, 5, 7]])
def test_no_elements_have_a_shape(shape: list[int]) -> None:
    for datatype in ("INT64", "BYTES"):
        assert list(from_json(spec(datatype), shape, []).shape) == shape
        assert list(from_binary(spec(datatype), shape, memoryview(b"")).shape) == shape
    assert list(from_json(spec("INT64"), [2, 0], [[], []]).shape) == [2, 0]


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([3], [1, 2]),
        ([1], [1, 2]),
        ([], []),
        ([0], [1]),
        ([2, 2], [[1], [2, 3, 4]]),
        ([2, 2], [[1, 2], 3, 4]),
        ([2, 2], [[1, 2, 3, 4]]),
        ([4], [[1, 2], [3, 4]]),
        ([2, 2], [[[1], [2]], [[3], [4]]]),
        ([0, 2**31 - 1, 2**31 - 1, 2**31 - 1], []),
    ],
)
def test_data_of_another_shape_are_refused(shape: list[int], data: list[Any]) -> None:
    with pytest.raises(BadRequest, match=r"shape|must be whole numbers"):
        from_json(spec("INT64"), shape, data)


@pytest.mark.parametrize(
    ("datatype", "value", "says"),
    [
        ("INT64", 1.0, "must be whole numbers: it is INT64"),
        ("INT64", True, "must be whole numbers"),
        ("INT64", "1", "must be whole numbers"),
        ("INT64", None, "must be whole numbers"),
        ("FP32", "1", "must be numbers: it is FP32"),
        ("FP32", False, "must be numbers"),
        ("BOOL", 1, "must be true and false"),
        ("BYTES", 1, "must be strings"),
        ("UINT8", 256, "has a number that UINT8 cannot hold"),
        ("UINT8", -1, "has a number that UINT8 cannot hold"),
        ("INT64", 2**63, "has a number that INT64 cannot hold"),
        ("FP16", 65520.0, "has a number that FP16 cannot hold"),
        ("FP32", 1e300, "has a number that FP32 cannot hold"),
        ("FP64", 10**400, "has a number that FP64 cannot hold"),
    ],
)
def test_a_value_of_another_type_is_refused(datatype: str, value: Any, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        from_json(spec(datatype), [1], [value])


@pytest.mark.parametrize(
    ("datatype", "shape", "blob", "says"),
    [
        ("INT64", [2], b"12345678", r"has 8 bytes; \[2\] of INT64 have 16"),
        ("INT64", [0], b"1", "has 1 bytes"),
        ("BOOL", [2], b"\1\2", "bytes of 0 and 1"),
        ("BYTES", [1], b"", "is not 1 elements"),
        ("BYTES", [1], b"\1\0\0", "is not 1 elements"),
        ("BYTES", [1], b"\2\0\0\0a", "is not 1 elements"),
        ("BYTES", [1], b"\xff\xff\xff\xffa", "is not 1 elements"),
        ("BYTES", [1], b"\0\0\0\0\0\0\0\0", "is not 1 elements"),
        ("BYTES", [3], b"\0\0\0\0\0\0\0\0", "is not 3 elements"),
        ("BYTES", [0], b"\0\0\0\0", "is not 0 elements"),
    ],
)
def test_bytes_that_are_not_the_tensor_are_refused(datatype: str, shape: list[int], blob: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        from_binary(spec(datatype), shape, memoryview(blob))
