"""A graph that runs on a GPU: what goes there and back, in which thread, and with how many rows.

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

from app.runtime.device import Device, ProviderOptions
from app.runtime.session import OrtSession, RunStopped, Stopper, Tensors

ARENAS = {"cuda": "gpu:0", "cpu": "cpu:0"}

Work = tuple[Callable[[], Any], "Future[Any]"]


class DeviceThread:
    """The one thread that a session's runs are made in, in the order they come.

    ONNX Runtime has the handles of cuBLAS and cuDNN once a thread: with many threads they would be made again in each.
    A daemon: one that hangs keeps no process alive.
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


class DeviceSession(OrtSession):
    """One ONNX file on a GPU. Safe to call from several threads; the runs are one after the other.

    `rows`: every run has so many, smaller ones are padded. Raises GraphRejected.
    """

    def __init__(
        self,
        path: Path,
        device: Device,
        *,
        providers: list[tuple[str, ProviderOptions]] | None = None,
        graph: bytes | None = None,
        rows: int | None = None,
        shrinks: bool = False,
        memory: str = "cuda",
    ) -> None:
        super().__init__(path, device, providers=providers, graph=graph, shrinks=shrinks, arena=ARENAS[memory])
        self.rows = rows
        self._memory = memory
        self._thread = DeviceThread()

    def run(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper | None = None) -> Tensors:
        answered: Tensors = self._thread.call(partial(self._run, tensors, stopper or Stopper()))
        return answered

    def _run(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper) -> Tensors:
        if stopper.stopped:
            raise RunStopped  # before anything is copied
        try:
            if self.rows is None:
                return self._run_as_it_is(tensors, stopper)
            rows = len(next(iter(tensors.values())))
            answered = self._run_as_it_is({name: _padded(tensor, self.rows) for name, tensor in tensors.items()}, stopper)
            return {name: value[:rows] for name, value in answered.items()}
        except Exception:
            if stopper.stopped:
                raise RunStopped from None
            raise

    def _run_as_it_is(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper) -> Tensors:
        """Each input is copied there once, each output back once; what lies between is the session's own arena's."""
        self._shrink_behind(tensors, stopper)
        binding = self._session.io_binding()
        for name, tensor in tensors.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(tensor))
        for name in self._output_names:
            binding.bind_output(name, self._memory)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding, stopper.options)
        binding.synchronize_outputs()
        return dict(zip(self._output_names, map(np.asarray, binding.copy_outputs_to_cpu()), strict=True))


def _padded(tensor: NDArray[Any], rows: int) -> NDArray[Any]:
    """With zeros behind it, up to so many rows."""
    missing = max(0, rows - len(tensor))
    return np.concatenate([tensor, np.zeros((missing, *tensor.shape[1:]), dtype=tensor.dtype)]) if missing else tensor
