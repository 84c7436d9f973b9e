"""A graph that runs on a GPU: what goes there and back, in which thread, and as a CUDA graph where that can be.

All of it works with tensors that stay in the processor's memory as well, which is how the tests come by it.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contract.manifest import Graph
from app.runtime.device import Device, ProviderOptions
from app.runtime.session import OrtSession, RunStopped, Stopper, Tensors, tensor_at
from app.runtime.shapes import bucket_of

GRAPH_ID = "gpu_graph_id"  # of ONNX Runtime's run options: which captured graph is meant
NO_GRAPH = "-1"  # run the nodes one by one, and capture nothing
ARENAS = {"cuda": "gpu:0", "cpu": "cpu:0"}

Work = tuple[Callable[[], Any], "Future[Any]"]


class DeviceThread:
    """The one thread that a session's runs are made in, in the order they come.

    ONNX Runtime has the handles of cuBLAS and cuDNN, and each captured graph, once a thread: with many threads they
    would be made again in each. A daemon: one that hangs keeps no process alive.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        threading.Thread(target=_do_work, args=(self._queue,), name="axon-device", daemon=True).start()
        self.close = weakref.finalize(self, self._queue.put, None)

    def call(self, work: Callable[[], Any]) -> Any:
        """What `work` gives, or raises."""
        future: Future[Any] = Future()
        self._queue.put((work, future))
        return future.result()


def _do_work(queue: SimpleQueue[Work | None]) -> None:
    while (item := queue.get()) is not None:
        work, future = item
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)
        del item, work, future  # what it holds is not kept until the next one comes


class _Captured:
    """A number of rows, and the tensors at fixed addresses that its CUDA graph reads and writes."""

    def __init__(self, binding: Any, graph: Graph, rows: int, memory: str) -> None:
        self.rows = rows
        self.graph_id = str(rows)  # 0 is ONNX Runtime's own
        self._inputs, self._outputs = (
            {spec.name: tensor_at(memory, (rows, *spec.shape[1:]), spec.dtype) for spec in specs} for specs in (graph.inputs, graph.outputs)
        )
        self.binding = binding
        for name, value in self._inputs.items():
            self.binding.bind_ortvalue_input(name, value)
        for name, value in self._outputs.items():
            self.binding.bind_ortvalue_output(name, value)

    def write(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Copy the inputs there, the missing rows as zeros."""
        for name, value in self._inputs.items():
            tensor = np.ascontiguousarray(tensors[name])
            if len(tensor) < self.rows:
                padding = np.zeros((self.rows - len(tensor), *tensor.shape[1:]), dtype=tensor.dtype)
                tensor = np.concatenate([tensor, padding])
            value.update_inplace(tensor)

    def read(self, rows: int) -> Tensors:
        """The outputs of the first rows, in memory of their own."""
        return {name: np.array(value.numpy()[:rows]) for name, value in self._outputs.items()}


class DeviceSession(OrtSession):
    """One ONNX file on a GPU. Safe to call from several threads; the runs are one after the other.

    `cuda_graphs` says whether they are on in the providers' options. Raises GraphRejected.
    """

    def __init__(
        self,
        path: Path,
        device: Device,
        *,
        providers: list[tuple[str, ProviderOptions]] | None = None,
        graph: bytes | None = None,
        cuda_graphs: bool = False,
        shrinks: bool = False,
        memory: str = "cuda",
    ) -> None:
        super().__init__(path, device, providers=providers, graph=graph, shrinks=shrinks, arena=ARENAS[memory])
        self._memory = memory
        self._cuda_graphs = cuda_graphs
        self._captured: dict[int, _Captured] = {}
        self._thread = DeviceThread()

    @property
    def buckets(self) -> list[int]:
        """The numbers of rows that there are CUDA graphs for."""
        return sorted(self._captured)

    def capture(self, spec: Graph, buckets: list[int]) -> None:
        """A CUDA graph for each of these numbers of rows, before any request comes. Raises whatever ONNX Runtime raises."""
        for rows in sorted(buckets, reverse=True):  # the largest first: the smaller ones find their memory in the arena
            self._thread.call(partial(self._capture, spec, rows))

    def run(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper | None = None) -> Tensors:
        answered: Tensors = self._thread.call(partial(self._run, tensors, stopper or Stopper()))
        return answered

    def _capture(self, spec: Graph, rows: int) -> None:
        """The first run with a graph's number: ONNX Runtime makes it twice, and once more to capture it."""
        captured = _Captured(self._session.io_binding(), spec, rows, self._memory)
        captured.write({each.name: np.zeros((rows, *each.shape[1:]), dtype=each.dtype) for each in spec.inputs})
        self._launch(captured, Stopper())
        self._captured[rows] = captured

    def _run(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper) -> Tensors:
        if stopper.stopped:
            raise RunStopped  # a captured graph would not look
        rows = len(next(iter(tensors.values())))
        bucket = bucket_of(rows, self._captured)
        try:
            if bucket is None:
                return self._run_nodes(tensors, stopper)
            captured = self._captured[bucket]
            captured.write(tensors)
            self._launch(captured, stopper)
            return captured.read(rows)
        except Exception:
            if stopper.stopped:
                raise RunStopped from None
            raise

    def _launch(self, captured: _Captured, stopper: Stopper) -> None:
        stopper.options.add_run_config_entry(GRAPH_ID, captured.graph_id)
        self._session.run_with_iobinding(captured.binding, stopper.options)
        captured.binding.synchronize_outputs()

    def _run_nodes(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper) -> Tensors:
        """Each input is copied there once, each output back once; what lies between is the session's own arena's."""
        self._configure(tensors, stopper)
        binding = self._session.io_binding()
        for name, tensor in tensors.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(tensor))
        for name in self._output_names:
            binding.bind_output(name, self._memory)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding, stopper.options)
        binding.synchronize_outputs()
        return dict(zip(self._output_names, map(np.asarray, binding.copy_outputs_to_cpu()), strict=True))

    def _configure(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper) -> None:
        if self._cuda_graphs:
            stopper.options.add_run_config_entry(GRAPH_ID, NO_GRAPH)
        self._shrink_behind(tensors, stopper)
