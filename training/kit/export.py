"""Export to ONNX, and the proof that the file answers as the module does. A failed proof fails the export."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.contract.files import sha256
from app.contract.manifest import Graph, TensorSpec

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: the official wheel sends telemetry
import onnxruntime

OPSET = 17
Tensors = Mapping[str, NDArray[Any]]

_DATATYPES = {
    "tensor(float)": "FP32",
    "tensor(float16)": "FP16",
    "tensor(int64)": "INT64",
    "tensor(int32)": "INT32",
    "tensor(uint8)": "UINT8",
    "tensor(bool)": "BOOL",
}


class ExportError(Exception):
    """The exported file is not the module; the message says in what they differ."""


def export(
    model: str,
    module: nn.Module,
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    cases: Sequence[Tensors],
    atol: float,
) -> Graph:
    """Write `module` to `path`, prove it on every case, and describe it for the manifest.

    The cases should hold batches of 1 and of 3 and odd lengths or sizes; the first one is traced.
    An axis of any length is -1 in the specs. Raises ExportError.
    """
    module.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(module, path, inputs, outputs, cases[0])
    return proved(model, module, path, inputs, outputs, cases, atol)


def proved(
    model: str,
    module: nn.Module,
    path: Path,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    cases: Sequence[Tensors],
    atol: float,
) -> Graph:
    """Prove a file that the recipe wrote itself, and describe it for the manifest. Raises ExportError."""
    print(f"export {model}: {prove(module, path, inputs, outputs, cases, atol)}", flush=True)
    return Graph(file=path.name, sha256=sha256(path), inputs=tuple(inputs), outputs=tuple(outputs), atol=atol)


def prove(
    module: nn.Module, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], cases: Sequence[Tensors], atol: float
) -> str:
    """Names, then axes, then shapes, then values, so that the first message is the nearest to the cause. Raises ExportError."""
    session = open_session(path)
    sides = [("input", session.get_inputs(), inputs), ("output", session.get_outputs(), outputs)]
    for side, found, wanted in sides:
        _agree(f"{side} names", [node.name for node in found], [spec.name for spec in wanted])
    for side, found, wanted in sides:
        _agree(f"{side} axes", [_axes(node) for node in found], [(spec.datatype, spec.shape) for spec in wanted])
    worst = max(_compare(module, session, case, outputs, atol) for case in cases)
    return f"names ok, axes ok, shapes ok, values ok (max |d| {worst:.1e}, atol {atol:.0e})"


def open_session(path: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """The file on the CPU, as the server opens it: what `evaluate` measures beside PyTorch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _write(module: nn.Module, path: Path, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], case: Tensors) -> None:
    axes = {
        spec.name: {axis: "batch" if axis == 0 else f"{spec.name}_{axis}" for axis, size in enumerate(spec.shape) if size == -1}
        for spec in [*inputs, *outputs]
    }
    with warnings.catch_warnings():
        # The tracing exporter takes a second, keeps LSTM one fused node, and is deprecated; what it warns of, the proof checks.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            tuple(torch.from_numpy(case[spec.name]) for spec in inputs),
            str(path),
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


def _axes(node: Any) -> tuple[str, tuple[int, ...]]:
    return _DATATYPES[node.type], tuple(size if isinstance(size, int) else -1 for size in node.shape)


def _agree(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise ExportError(f"{what} differ: the file has {found}, wanted {wanted}")


def _compare(module: nn.Module, session: onnxruntime.InferenceSession, case: Tensors, outputs: Sequence[TensorSpec], atol: float) -> float:
    """The largest absolute difference between the module's and the file's answers to one case."""
    with torch.no_grad():
        expected = module(*(torch.from_numpy(case[node.name]) for node in session.get_inputs()))
    expected = [expected] if isinstance(expected, Tensor) else list(expected)
    answered = session.run(None, dict(case))
    worst = 0.0
    for spec, eager, onnx in zip(outputs, expected, answered, strict=True):
        _agree(f"shapes of {spec.name}", onnx.shape, tuple(eager.shape))
        if len(onnx.shape) != len(spec.shape) or any(size not in (-1, found) for size, found in zip(spec.shape, onnx.shape, strict=True)):
            raise ExportError(f"shapes of {spec.name} differ: the file gives {onnx.shape}, the spec says {spec.shape}")
        difference = float(np.abs(onnx.astype(np.float64) - eager.double().numpy()).max())
        if not difference <= atol:  # a NaN fails too
            raise ExportError(f"values of {spec.name} differ by {difference:.1e}, more than {atol:.0e}, for inputs {_shapes(case)}")
        worst = max(worst, difference)
    return worst


def _shapes(case: Tensors) -> str:
    return ", ".join(f"{name} {array.shape}" for name, array in case.items())
