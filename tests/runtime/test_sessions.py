"""open_session: which session each model gets, with a stand-in for the GPU; and progress."""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from app.contract.manifest import load_manifest
from app.errors import ModelRejected
from app.runtime import sessions
from app.runtime.device import CPU, Device
from app.runtime.session import GraphRejected, OrtSession
from app.runtime.sessions import open_session, progress
from tests.model_repository import write_colour_model, write_word_model
from tests.runtime.conftest import Load

without_gpu = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="this ONNX Runtime has CUDA; the test shows what happens without",
)


class StandIn:
    """A session on a GPU that there is not: it notes what it is made of, and is placed as the test says."""

    given = "CUDAExecutionProvider"
    on_the_processor: tuple[str, ...] = ()
    refuses_all = False
    made: list[StandIn]

    def __init__(self, path: Path, device: Device, **options: Any) -> None:
        if self.refuses_all:
            raise GraphRejected("model.onnx is not a graph") from RuntimeError("the graph has control flow")
        self.path, self.options = path, options
        self.actual_provider, self.requested_provider, self.rtol = self.given, device.requested_provider, device.rtol
        self.made.append(self)

    def operators_on(self, provider: str) -> Counter[str]:
        return Counter(self.on_the_processor)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    class Gpu(StandIn):
        made: list[StandIn] = []  # noqa: RUF012 - one for each test

    monkeypatch.setattr(sessions, "DeviceSession", Gpu)
    monkeypatch.setattr(sessions, "is_built_in", lambda provider: True)
    monkeypatch.setattr(sessions, "load_cuda", lambda device: None)
    monkeypatch.setattr(sessions, "load_libraries", lambda: None)
    return Gpu


def opened(folder: Path, device: Device, **options: Any) -> Any:
    return open_session(load_manifest(folder), folder, device, **options)


def test_the_processor_has_a_session_without_any_of_it(tmp_path: Path, gpu: type[StandIn]) -> None:
    assert type(opened(write_colour_model(tmp_path), CPU)) is OrtSession
    assert type(opened(write_word_model(tmp_path), Device("cuda", cpu_models=frozenset({"words"})))) is OrtSession
    assert gpu.made == []


def test_a_gpu_gets_the_file_and_the_options(tmp_path: Path, gpu: type[StandIn]) -> None:
    folder = write_colour_model(tmp_path)
    session = opened(folder, Device("cuda", strict=True))
    assert session.path == folder / "model.onnx"
    assert session.options["graph"] is None
    assert session.options["providers"][0][0] == "CUDAExecutionProvider"


@without_gpu
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_provider_that_is_missing_is_admitted(tmp_path: Path, provider: Any, caplog: pytest.LogCaptureFixture) -> None:
    session = opened(write_colour_model(tmp_path), Device(provider, precision="fp16"))
    assert session.requested_provider == {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}[provider]
    assert session.actual_provider == "CPUExecutionProvider"
    assert session.rtol == 0
    assert "colours/1 runs on the processor: this ONNX Runtime has no" in caplog.text


@without_gpu
def test_a_model_that_is_not_on_the_gpu_has_the_runs_of_the_processor(load: Load, tmp_path: Path) -> None:
    """The provider that it has counts, not the one that was asked for."""
    write_colour_model(tmp_path, batching={"max_batch_size": 4})
    model: Any = load(tmp_path, provider="cuda", gpu_batch_size=64).get("colours")
    assert (model.session.requested_provider, model.session.actual_provider) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert model.batcher.instances == 2
    assert model.batcher._queue._max_batch_size == 4


@without_gpu
@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_strict_provider_that_is_missing_refuses_the_model(tmp_path: Path, provider: Any) -> None:
    with pytest.raises(ModelRejected, match=r"install axon\[gpu\], or unset AXON_STRICT_PROVIDER"):
        opened(write_colour_model(tmp_path), Device(provider, strict=True))


def test_a_driver_that_is_missing_is_like_a_provider_that_is(tmp_path: Path, gpu: type[StandIn], caplog: pytest.LogCaptureFixture) -> None:
    """ONNX Runtime has the provider, cannot load it, and goes on with the next one without a word to the caller."""
    gpu.given = "CPUExecutionProvider"
    folder = write_colour_model(tmp_path)
    with pytest.raises(ModelRejected, match="CPUExecutionProvider was given; install the matching extra and driver, or unset"):
        opened(folder, Device("cuda", strict=True))
    session = opened(folder, Device("cuda"))
    assert type(session) is OrtSession
    assert (session.requested_provider, session.actual_provider) == ("CUDAExecutionProvider", "CPUExecutionProvider")


def test_a_model_whose_work_stays_on_the_processor_is_not_said_to_be_on_the_gpu(tmp_path: Path, gpu: type[StandIn]) -> None:
    folder = write_word_model(tmp_path)
    gpu.on_the_processor = ("Shape", "Gather", "MatMulInteger", "MatMulInteger")
    with pytest.raises(
        ModelRejected, match="no kernel for its MatMulInteger; list words in AXON_CPU_MODELS, or unset AXON_STRICT_PROVIDER"
    ):
        opened(folder, Device("cuda", strict=True))
    assert opened(folder, Device("cuda")).actual_provider == "CPUExecutionProvider"


def test_nodes_that_compute_shapes_may_stay_on_the_processor(tmp_path: Path, gpu: type[StandIn]) -> None:
    gpu.on_the_processor = ("Shape", "Gather", "Concat")
    assert opened(write_colour_model(tmp_path), Device("cuda", strict=True)).actual_provider == "CUDAExecutionProvider"


def test_every_run_on_cuda_has_the_same_rows_where_nothing_else_of_its_shape_changes(tmp_path: Path, gpu: type[StandIn]) -> None:
    colours, words = write_colour_model(tmp_path, batching={"max_batch_size": 6}), write_word_model(tmp_path)
    assert opened(colours, Device("cuda")).options["rows"] == 6
    assert opened(colours, Device("cuda", batch_size=16)).options["rows"] == 16
    assert opened(words, Device("cuda", batch_size=16)).options["rows"] is None
    gpu.given = "TensorrtExecutionProvider"
    assert opened(colours, Device("tensorrt")).options["rows"] is None


def test_fp16_hands_over_a_converted_graph(tmp_path: Path, gpu: type[StandIn]) -> None:
    session = opened(write_colour_model(tmp_path), Device("cuda", precision="fp16"))
    assert session.options["graph"]
    assert session.rtol > 0


@pytest.mark.parametrize("strict", [False, True])
def test_a_graph_that_is_broken_in_fp16_is_refused_and_nothing_else_served_for_it(
    tmp_path: Path, gpu: type[StandIn], strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu.refuses_all = True
    monkeypatch.setattr(sessions, "in_half_precision", lambda path: b"broken")
    with pytest.raises(ModelRejected, match="fp16 cannot be loaded; set AXON_GPU_PRECISION=fp32"):
        opened(write_colour_model(tmp_path), Device("cuda", strict=strict, precision="fp16"))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gpu_that_does_not_take_a_whole_graph_is_the_gpus_fault(
    tmp_path: Path, gpu: type[StandIn], precision: Any, caplog: pytest.LogCaptureFixture
) -> None:
    gpu.refuses_all = True
    folder = write_colour_model(tmp_path)
    with pytest.raises(ModelRejected, match="CUDAExecutionProvider cannot load its graph; install the matching extra and driver, or unset"):
        opened(folder, Device("cuda", strict=True, precision=precision))
    assert "colours/1: the graph has control flow" in caplog.text
    assert opened(folder, Device("cuda", precision=precision)).actual_provider == "CPUExecutionProvider"


def test_tensorrt_gets_the_shapes_and_the_folder(tmp_path: Path, gpu: type[StandIn]) -> None:
    gpu.given = "TensorrtExecutionProvider"
    (cache := tmp_path / "engines").mkdir()
    session = opened(write_colour_model(tmp_path), Device("tensorrt", strict=True, engine_cache=cache, precision="fp16"))
    name, options = session.options["providers"][0]
    assert name == "TensorrtExecutionProvider"
    assert options["trt_profile_max_shapes"] == "pixel_values:8x3x32x32"
    assert Path(options["trt_engine_cache_path"]).is_relative_to(cache)
    assert session.options["graph"] is None  # the engine is built in fp16


def test_tensorrt_leaves_a_model_without_bounds_to_cuda_and_strictness_refuses_it(
    tmp_path: Path, gpu: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "engine_options", lambda *arguments: None)
    folder = write_word_model(tmp_path)
    assert opened(folder, Device("tensorrt")).actual_provider == "CUDAExecutionProvider"
    with pytest.raises(ModelRejected, match="no bounds that an engine could be built for"):
        opened(folder, Device("tensorrt", strict=True))


def test_a_lower_precision_is_held_against_the_golden_answer(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near is good enough then, and far is not; without a golden answer nobody would know."""
    away = [0.01]

    class Imprecise(OrtSession):
        rtol = 0.02

        def __init__(self, path: Path, *arguments: Any, **options: Any) -> None:
            super().__init__(path)
            self.rtol = 0.02

        def run(self, tensors: Any, stopper: Any = None) -> Any:
            return {name: value * np.float32(1 + away[0]) for name, value in super().run(tensors, stopper).items()}

    monkeypatch.setattr("app.runtime.loader.open_session", lambda manifest, directory, *rest, **more: Imprecise(directory / "model.onnx"))
    write_colour_model(tmp_path)
    write_colour_model(tmp_path, "unchecked", golden=None, provenance=None)
    (colours, unchecked) = load(tmp_path).statuses()
    assert colours.state == "ready"
    assert "no golden request to check a lower precision with" in str(unchecked.reason)
    away[0] = 0.03
    assert "set AXON_GPU_PRECISION=fp32" in str(load(tmp_path).statuses()[0].reason)


def test_a_model_on_the_gpu_has_one_run_at_a_time_of_as_many_rows_as_the_setting_says(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnGpu(OrtSession):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self.requested_provider = self.actual_provider = "CUDAExecutionProvider"

    monkeypatch.setattr("app.runtime.loader.open_session", lambda manifest, directory, *rest, **more: OnGpu(directory / "model.onnx"))
    write_colour_model(tmp_path, batching={"max_batch_size": 4})
    model: Any = load(tmp_path, provider="cuda", gpu_batch_size=64).get("colours")
    assert model.batcher.instances == 1
    assert model.batcher._queue._max_batch_size == 64


def test_slow_loading_says_so_every_few_seconds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(sessions, "PROGRESS_S", 0.02)
    caplog.set_level(logging.INFO, "axon.models")
    with progress("loading skin-lesion/1; TensorRT builds engines"):
        give_up_at = time.monotonic() + 5
        while len(caplog.messages) < 3 and time.monotonic() < give_up_at:
            time.sleep(0.01)
    said = len(caplog.messages)
    assert said >= 3
    assert re.fullmatch(r"loading skin-lesion/1; TensorRT builds engines, \d+ s so far", caplog.messages[0])
    time.sleep(0.1)
    assert len(caplog.messages) <= said + 1  # one may have been on its way
