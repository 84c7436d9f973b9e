"""A graph that runs. The only file that imports ONNX Runtime itself."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import ModelRejected
from app.runtime.device import CPU, CPU_PROVIDER, Device, ProviderOptions, environment, provider_list

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # the official Linux wheel sends telemetry unless told not to before the import
try:
    import onnxruntime as ort
except ModuleNotFoundError:
    raise ImportError("ONNX Runtime is missing: install exactly one of the extras, axon[cpu] or axon[gpu]") from None

ort.disable_telemetry_events()

Tensors = dict[str, NDArray[Any]]
Signature = dict[str, tuple[str, tuple[int, ...]]]  # name -> (datatype, shape); -1 stands for an axis of any length

FATAL = 4  # of ONNX Runtime's severities
SHRINK = "memory.enable_memory_arena_shrinkage"  # of the arenas that are named, behind the run
SHAPES_KEPT = 64  # that were run lately

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


class GraphRejected(ModelRejected):
    """ONNX Runtime does not take the graph; its own words are the cause."""


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
    rtol: float  # how far from the answer at export its precision may lead, as a part of the answer's largest value

    def run(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper | None = None) -> Tensors:
        """One forward pass. Raises RunStopped."""
        ...


class OrtSession:
    """One ONNX file in ONNX Runtime, on the processor, or as it is on a GPU that `DeviceSession` feeds.

    `threads` is the width of one run; on a CPU several narrow runs side by side beat one wide one, so the
    default is one, and the server runs as many at once as it has cores. `graph` is taken in the place of the file's bytes.
    `shrinks`: a run of a shape that is new gives back what memory the `arena` holds and does not need, which else stays at
    the most that any batch has needed. Raises GraphRejected.
    """

    def __init__(
        self,
        path: Path,
        device: Device = CPU,
        *,
        threads: int = 1,
        providers: list[tuple[str, ProviderOptions]] | None = None,
        graph: bytes | None = None,
        shrinks: bool = False,
        arena: str = "cpu:0",
    ) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # runs share the cores: a spinning thread steals one
        options.log_severity_level = 3
        if device.is_gpu:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        self.requested_provider: str = device.requested_provider
        self._session = _open(path, graph, options, provider_list(device) if providers is None else providers)
        self._session.disable_fallback()
        self.actual_provider: str = self._session.get_providers()[0]
        self.rtol = device.rtol if self.actual_provider != CPU_PROVIDER else 0.0
        self._output_names = [output.name for output in self._session.get_outputs()]
        self._shrinks, self._arena = shrinks, arena
        self._shapes: dict[tuple[tuple[int, ...], ...], None] = {}  # of the latest runs, the oldest first
        self._shapes_lock = threading.Lock()

    def run(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper | None = None) -> Tensors:
        """One forward pass. Releases the interpreter lock while the graph runs. Raises RunStopped."""
        stopper = stopper or Stopper()
        self._shrink_behind(tensors, stopper)
        try:
            values: Sequence[Any] = self._session.run(self._output_names, dict(tensors), stopper.options)
        except Exception:  # ONNX Runtime's word for a run that was stopped is that of any failure
            if stopper.stopped:
                raise RunStopped from None
            raise
        return dict(zip(self._output_names, (np.asarray(value) for value in values), strict=True))

    def _shrink_behind(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper) -> None:
        if self._shrinks and self._is_new(tuple(tensor.shape for tensor in tensors.values())):
            stopper.options.add_run_config_entry(SHRINK, self._arena)

    def _is_new(self, shapes: tuple[tuple[int, ...], ...]) -> bool:
        """Whether no run of late had these shapes."""
        with self._shapes_lock:
            is_new = shapes not in self._shapes
            self._shapes.pop(shapes, None)
            self._shapes[shapes] = None
            if len(self._shapes) > SHAPES_KEPT:
                del self._shapes[next(iter(self._shapes))]
            return is_new

    def signature(self) -> tuple[Signature, Signature]:
        """(inputs, outputs): what the file really takes and gives, to hold against the manifest."""
        return _tensors(self._session.get_inputs()), _tensors(self._session.get_outputs())

    def operators_on(self, provider: str) -> Counter[str]:
        """How many nodes of each operator a provider has; of a session for a GPU, else nothing is known."""
        placed = [part for part in self._session.get_provider_graph_assignment_info() if part.ep_name == provider]
        return Counter(node.op_type for part in placed for node in part.get_nodes())


def is_built_in(provider: str) -> bool:
    """Whether this build of ONNX Runtime has it; its libraries and the driver may still be missing."""
    return provider in ort.get_available_providers()


def load_cuda(device: Device) -> None:
    """Before a session for a GPU: the extra `gpu` brings CUDA and cuDNN as packages, where the loader does not look by itself."""
    for name, value in environment(device).items():
        os.environ.setdefault(name, value)
    ort.preload_dlls()


def _open(
    path: Path, graph: bytes | None, options: ort.SessionOptions, providers: list[tuple[str, ProviderOptions]]
) -> ort.InferenceSession:
    """Ask only for providers that this build has, and let ONNX Runtime never try others by itself: we say so in our own log."""
    built = set(ort.get_available_providers())
    wanted = [(name, values) for name, values in providers if name in built]
    try:
        return ort.InferenceSession(path if graph is None else graph, options, providers=wanted, enable_fallback=0)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but Exception
        raise GraphRejected(f"{path.name} is not a graph that ONNX Runtime can load ({type(error).__name__}); export it again") from error


def _tensors(nodes: Sequence[Any]) -> Signature:
    return {
        node.name: (_DATATYPES.get(node.type, node.type), tuple(size if isinstance(size, int) else -1 for size in node.shape))
        for node in nodes
    }
