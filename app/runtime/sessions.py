"""Which session a model gets: on the processor, or on a GPU in the best way that its graph allows; and where it may not run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.contract.images import PhotographProcessor
from app.contract.manifest import ModelManifest
from app.errors import ModelRejected
from app.runtime.device import CPU, CPU_PROVIDER, Device, ProviderOptions, provider_list
from app.runtime.device_session import DeviceSession
from app.runtime.half_precision import in_half_precision
from app.runtime.session import GraphRejected, OrtSession, is_built_in, load_cuda
from app.runtime.shapes import has_fixed_rows
from app.runtime.tensorrt import engine_options, load_libraries

logger = logging.getLogger("axon.models")

PROGRESS_S = 5.0
MAX_WORDS_CHARS = 400
HEAVY = {  # operators that a GPU is there for; what computes shapes is on the processor in any case
    "Conv", "ConvInteger", "ConvTranspose", "FusedConv", "Gemm", "GRU", "InstanceNormalization", "LSTM", "MatMul", "MatMulInteger",
    "QLinearConv", "QLinearMatMul", "Resize", "RNN",
}  # fmt: skip


def open_session(manifest: ModelManifest, directory: Path, device: Device, *, wide_threads: int = 1) -> OrtSession:
    """The session of a model, whose device may be the processor by its name. `wide_threads` are those of one run on the processor.

    Without strictness a model that cannot run on the GPU runs on the processor, and the log says so. Raises ModelRejected.
    """
    path, device = directory / manifest.graphs["model"].file, device.of(manifest.name)
    shrinks = _shrinks(manifest)
    if not device.is_gpu:
        return OrtSession(path, threads=wide_threads, shrinks=shrinks)
    try:
        return _open_on_gpu(manifest, directory, device)
    except _NotOnGpu as problem:
        if device.strict:
            raise ModelRejected(f"{problem}, or unset AXON_STRICT_PROVIDER") from None
        logger.warning("%s/%s runs on the processor: %s", manifest.name, manifest.version, problem)
    session = OrtSession(path, CPU, threads=wide_threads, shrinks=shrinks)
    session.requested_provider = device.requested_provider
    return session


@contextmanager
def progress(what: str) -> Iterator[None]:
    """A line in the log every few seconds while this is open: loading may take minutes, when engines are built."""
    done, started = threading.Event(), time.monotonic()

    def report() -> None:
        while not done.wait(PROGRESS_S):
            logger.info("%s, %.0f s so far", what, time.monotonic() - started)

    threading.Thread(target=report, name="axon-progress", daemon=True).start()
    try:
        yield
    finally:
        done.set()


class _NotOnGpu(Exception):
    """Why a model cannot run on the GPU, as a sentence without its end."""


def _open_on_gpu(manifest: ModelManifest, directory: Path, device: Device) -> DeviceSession:
    """Raises ModelRejected and _NotOnGpu."""
    if not is_built_in(device.requested_provider):
        raise _NotOnGpu(f"this ONNX Runtime has no {device.requested_provider}; install axon[gpu]")
    load_cuda(device)
    engines = None
    if device.provider == "tensorrt":
        load_libraries()
        engines = engine_options(manifest, directory, device)
        if engines is None and device.strict:
            raise _NotOnGpu(f"its inputs have no bounds that an engine could be built for; list {manifest.name} in AXON_CPU_MODELS")
    session = _device_session(manifest, directory, device, engines)
    if session.actual_provider == CPU_PROVIDER or (device.strict and session.actual_provider != device.requested_provider):
        raise _NotOnGpu(
            f"{device.requested_provider} was asked for, {session.actual_provider} was given; install the matching extra and driver"
        )
    _check_placement(manifest, session)
    return session


def _device_session(manifest: ModelManifest, directory: Path, device: Device, engines: ProviderOptions | None) -> DeviceSession:
    """Raises ModelRejected and _NotOnGpu."""
    path = directory / manifest.graphs["model"].file
    graph, providers = in_half_precision(path) if device.halves_weights else None, provider_list(device, engines)
    try:
        return DeviceSession(path, device, providers=providers, graph=graph, rows=_rows(manifest, device), shrinks=_shrinks(manifest))
    except GraphRejected as error:
        logger.warning("%s/%s: %s", manifest.name, manifest.version, _words(error))
        if graph is not None:
            _check_converted(path, graph)
        raise _NotOnGpu(f"{device.requested_provider} cannot load its graph; install the matching extra and driver") from None


def _rows(manifest: ModelManifest, device: Device) -> int | None:
    """The rows of every run, where they are all of its shape that can change: a convolution on CUDA is planned anew whenever that does."""
    is_fixed = device.provider == "cuda" and has_fixed_rows(manifest.graphs["model"])
    return device.rows(manifest.batching.max_batch_size) if is_fixed else None


def _shrinks(manifest: ModelManifest) -> bool:
    """Of pictures as large as they come: sizes change, and each takes up to gigabytes."""
    return isinstance(manifest.processor, PhotographProcessor)


def _check_converted(path: Path, graph: bytes) -> None:
    """Whether it is the conversion that cannot be loaded, or the GPU that does not take it. Raises ModelRejected for the former."""
    try:
        OrtSession(path, graph=graph)
    except GraphRejected:
        raise ModelRejected("its graph in fp16 cannot be loaded; set AXON_GPU_PRECISION=fp32, or list it in AXON_CPU_MODELS") from None


def _words(error: Exception) -> str:
    """What ONNX Runtime said, in one line; the reason stands at its end."""
    return " ".join(str(error.__cause__ or error).split())[-MAX_WORDS_CHARS:]


def _check_placement(manifest: ModelManifest, session: DeviceSession) -> None:
    """What the GPU is there for must be on it. A few nodes that compute shapes never are, and cost nothing. Raises _NotOnGpu."""
    placed = session.operators_on(CPU_PROVIDER)
    if heavy := sorted(HEAVY & placed.keys()):
        raise _NotOnGpu(f"the GPU has no kernel for its {', '.join(heavy)}; list {manifest.name} in AXON_CPU_MODELS")
    if placed:
        logger.info("%s/%s: %d nodes stay on the processor", manifest.name, manifest.version, placed.total())
