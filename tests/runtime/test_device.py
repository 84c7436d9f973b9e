"""Device: what ONNX Runtime gets for each choice of the operator."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.runtime.device import CPU, Device, environment, provider_list
from app.settings import Settings

ENGINES = {"trt_profile_min_shapes": "pixels:1x3x8x8"}


def test_the_processor_gets_no_options() -> None:
    assert provider_list(CPU) == [("CPUExecutionProvider", {})]
    assert environment(CPU) == {}


def test_cuda_answers_as_the_processor_does_unless_it_is_told_otherwise() -> None:
    (cuda, options), (last, _) = provider_list(Device("cuda"))
    assert (cuda, last) == ("CUDAExecutionProvider", "CPUExecutionProvider")
    assert options == {
        "device_id": "0",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
    }
    assert environment(Device("cuda")) == {"NVIDIA_TF32_OVERRIDE": "0"}


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_lower_precision_lets_tf32_be(precision: str) -> None:
    device = Device("cuda", precision=precision)  # type: ignore[arg-type]
    assert provider_list(device)[0][1]["use_tf32"] == "1"
    assert environment(device) == {}
    assert device.rtol > 0


def test_the_arenas_limit_is_that_of_the_setting() -> None:
    assert provider_list(Device("cuda", memory_bytes=5_000))[0][1]["gpu_mem_limit"] == "5000"
    assert provider_list(Device("tensorrt", memory_bytes=5_000), ENGINES)[0][1]["trt_max_workspace_size"] == "5000"


def test_tensorrt_has_cuda_and_the_processor_behind_it() -> None:
    providers = provider_list(Device("tensorrt", precision="fp16"), ENGINES)
    assert [name for name, _ in providers] == ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    assert providers[0][1] == {"device_id": "0", "trt_fp16_enable": "1"} | ENGINES


def test_tensorrt_takes_no_part_where_no_engine_can_be_built_beforehand() -> None:
    assert [name for name, _ in provider_list(Device("tensorrt"))] == ["CUDAExecutionProvider", "CPUExecutionProvider"]


def test_only_cuda_needs_a_converted_graph() -> None:
    assert [Device(provider, precision="fp16").halves_weights for provider in ("cpu", "cuda", "tensorrt")] == [False, True, False]  # type: ignore[arg-type]
    assert not Device("cuda", precision="tf32").halves_weights


def test_a_model_may_stay_on_the_processor() -> None:
    device = Device("cuda", strict=True, precision="fp16", batch_size=64, cpu_models=frozenset({"anna"}))
    assert (device.of("anna").provider, device.of("skin-lesion").provider) == ("cpu", "cuda")
    assert (device.of("anna").rtol, device.of("anna").rows(8)) == (0.0, 8)
    assert device.of("skin-lesion").rows(8) == 64
    assert Device("cuda").rows(8) == 8


def test_there_are_threads_beside_those_that_wait_for_a_gpu() -> None:
    assert (CPU.threads(4), Device("cuda").threads(4)) == (4, 8)


def test_the_settings_say_all_of_it(tmp_path: Path) -> None:
    settings = Settings(
        provider="tensorrt",
        strict_provider=True,
        gpu_precision="fp16",
        gpu_batch_size=32,
        gpu_memory_bytes=1 << 30,
        tensorrt_cache=tmp_path,
        cpu_models="anna, shakespeare",
    )
    assert settings.device() == Device(
        "tensorrt", True, "fp16", 1 << 30, 32, engine_cache=tmp_path, cpu_models=frozenset({"anna", "shakespeare"})
    )
    assert Settings().device() == CPU
