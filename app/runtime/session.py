"""A graph that runs. The only file that imports ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import ModelRejected

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the official Linux wheel sends telemetry unless told not to before the import
try:
    import onnxruntime as ort
except ModuleNotFoundError:
    raise ImportError("ONNX Runtime is missing: install exactly one of the extras, axon[cpu] or axon[gpu]") from None

ort.disable_telemetry_events()

Tensors = dict[str, NDArray[Any]]
Signature = dict[str, tuple[str, tuple[int, ...]]]  # name -> (datatype, shape); -1 stands for an axis of any length

FATAL = 4  # of ONNX Runtime's severities

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}

_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
}


class RunStopped(Exception):
    """A run ended because it was told to: nobody waits for it any more."""


class Stopper:
    """Ends a run from another thread, behind the node that it is at. Whatever else is run with it does not begin."""

    def __init__(self) -> None:
        self.options = ort.RunOptions()
        self.options.log_severity_level = FATAL  # a run that is stopped is no error

    def stop(self) -> None:
        self.options.terminate = True

    @property
    def stopped(self) -> bool:
        return bool(self.options.terminate)


class Session(Protocol):
    """What a batch runs on. Safe to call from several threads at once."""

    requested_provider: str
    actual_provider: str

    def run(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper | None = None) -> Tensors:
        """One forward pass. Raises RunStopped."""
        ...


class OrtSession:
    """One ONNX file in ONNX Runtime.

    `threads` is the width of one run; on a CPU several narrow runs side by side beat one wide one, so the
    default is one, and the server runs as many at once as it has cores.
    """

    def __init__(self, path: Path, *, provider: str = "cpu", threads: int = 1, strict_provider: bool = False) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # runs share the cores: a spinning thread steals one
        options.log_severity_level = 3
        self.requested_provider = PROVIDERS[provider]
        if provider != "cpu":
            ort.preload_dlls()  # the extra `gpu` brings CUDA and cuDNN as packages, where the loader does not look by itself
        providers = list(dict.fromkeys([self.requested_provider, PROVIDERS["cpu"]]))
        if strict_provider and self.requested_provider != PROVIDERS["cpu"]:
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            providers = providers[:1]
        self._session = _open(path, options, _available(providers, strict_provider))
        self._session.disable_fallback()
        self.actual_provider: str = self._session.get_providers()[0]
        if strict_provider and self.actual_provider != self.requested_provider:
            raise ModelRejected(
                f"{self.requested_provider} was asked for, {self.actual_provider} was given; "
                "install the matching extra and driver, or unset AXON_STRICT_PROVIDER"
            )
        self._output_names = [output.name for output in self._session.get_outputs()]

    def run(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper | None = None) -> Tensors:
        """One forward pass. Releases the interpreter lock while the graph runs. Raises RunStopped."""
        options = None if stopper is None else stopper.options
        try:
            values: Sequence[Any] = self._session.run(self._output_names, dict(tensors), options)
        except Exception:  # ONNX Runtime's word for a run that was stopped is that of any failure
            if stopper is not None and stopper.stopped:
                raise RunStopped from None
            raise
        return dict(zip(self._output_names, (np.asarray(value) for value in values), strict=True))

    def signature(self) -> tuple[Signature, Signature]:
        """(inputs, outputs): what the file really takes and gives, to hold against the manifest."""
        return _tensors(self._session.get_inputs()), _tensors(self._session.get_outputs())


def _available(providers: list[str], strict_provider: bool) -> list[str]:
    """Ask only for providers that this build has: ONNX Runtime would warn and carry on, we say so in our own log."""
    built = set(ort.get_available_providers())
    missing = [name for name in providers if name not in built]
    if missing and strict_provider:
        raise ModelRejected(f"this ONNX Runtime has no {missing[0]}; install axon[gpu], or unset AXON_STRICT_PROVIDER")
    return [name for name in providers if name in built]


def _open(path: Path, options: ort.SessionOptions, providers: list[str]) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(path, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
        raise ModelRejected(f"{path.name} is not a graph that ONNX Runtime can load ({type(error).__name__}); export it again") from None


def _tensors(nodes: Sequence[Any]) -> Signature:
    return {
        node.name: (_DATATYPES.get(node.type, node.type), tuple(size if isinstance(size, int) else -1 for size in node.shape))
        for node in nodes
    }
