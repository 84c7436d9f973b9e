"""What TensorRT needs of us: the shapes that an engine is built for, and a folder in which it is kept."""

from __future__ import annotations

import hashlib
import importlib
import logging
import os
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.contract.files import sha256
from app.contract.manifest import ModelManifest
from app.errors import ModelRejected
from app.runtime.device import Device, ProviderOptions
from app.runtime.shapes import Bounds, input_bounds

logger = logging.getLogger("axon.models")

PACKAGES = ("onnxruntime-gpu", "tensorrt-cu13", "tensorrt-cu13-libs", "tensorrt")  # an engine is of one version of each


def engine_options(manifest: ModelManifest, directory: Path, device: Device) -> ProviderOptions | None:
    """TensorRT's options for a model; None for one whose inputs may grow without a bound that we know.

    An engine takes the shapes between its least and its largest. Beyond them it would be built again, for minutes, while
    requests wait; so the bounds are all that the server lets in. Raises ModelRejected when the cache cannot be written.
    """
    bounds = input_bounds(manifest, device.rows(manifest.batching.max_batch_size))
    if bounds is None:
        return None
    options = _profile(bounds)
    if device.engine_cache is None:
        logger.warning("%s/%s: AXON_TENSORRT_CACHE is not set: engines are built at every start", manifest.name, manifest.version)
        return options
    folder = str(_engine_folder(manifest, directory, device, options))
    return options | {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }


def load_libraries() -> None:
    """The package brings TensorRT where the system's loader does not look; its import loads them."""
    with suppress(ImportError):
        importlib.import_module("tensorrt")


def _profile(bounds: Bounds) -> ProviderOptions:
    """Least, usual and largest shape of each input: "pixels:1x3x160x160,condition:1x7". Usual is a full batch of middling size."""
    least = {name: [low for low, _ in axes] for name, axes in bounds.items()}
    usual = {name: [axes[0][1], *((low + high) // 2 for low, high in axes[1:])] for name, axes in bounds.items()}
    largest = {name: [high for _, high in axes] for name, axes in bounds.items()}
    return {
        f"trt_profile_{kind}_shapes": ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
        for kind, shapes in (("min", least), ("opt", usual), ("max", largest))
    }


def _engine_folder(manifest: ModelManifest, directory: Path, device: Device, profile: ProviderOptions) -> Path:
    """A folder for what the engine depends on. TensorRT's own names leave out the weights and the versions."""
    graph = directory / manifest.graphs["model"].file
    parts = [sha256(graph), device.precision, *sorted(f"{key}={value}" for key, value in profile.items()), *map(_installed, PACKAGES)]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    assert device.engine_cache is not None
    folder = device.engine_cache / manifest.name / manifest.version / key
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        raise ModelRejected("the folder in AXON_TENSORRT_CACHE cannot be written; make it writable for the server's user") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ModelRejected("a folder in AXON_TENSORRT_CACHE cannot be written; make it writable for the server's user, or empty it")
    return folder


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return package
