"""What models run on: the processor, or a GPU through CUDA or TensorRT; and all that follows from it but the runs themselves.

docs/decisions/0013-gpus.md says why each option is what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

Provider = Literal["cpu", "cuda", "tensorrt"]
Precision = Literal["fp32", "tf32", "fp16"]
ProviderOptions = dict[str, str]  # of ONNX Runtime: everything is a string

CPU_PROVIDER, CUDA_PROVIDER, TENSORRT_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
PROVIDERS: dict[Provider, str] = {"cpu": CPU_PROVIDER, "cuda": CUDA_PROVIDER, "tensorrt": TENSORRT_PROVIDER}

RTOL: dict[Precision, float] = {"fp32": 0.0, "tf32": 0.02, "fp16": 0.02}  # of a golden answer's largest value
DEVICE_ID = "0"  # one GPU a server: CUDA_VISIBLE_DEVICES says which


@dataclass(frozen=True, slots=True)
class Device:
    """The operator's choice. Everything but `provider` and `strict` is about GPUs."""

    provider: Provider = "cpu"
    strict: bool = False
    precision: Precision = "fp32"
    memory_bytes: int | None = None  # that a session's arena may hold
    batch_size: int | None = None  # rows of a run, in the place of the manifest's, which was chosen on a CPU
    engine_cache: Path | None = None  # TensorRT's; without it engines are built at every start
    cpu_models: frozenset[str] = frozenset()  # that stay on the processor

    def of(self, name: str) -> Device:
        """The device of one model."""
        return replace(self, provider="cpu") if name in self.cpu_models else self

    @property
    def requested_provider(self) -> str:
        return PROVIDERS[self.provider]

    @property
    def is_gpu(self) -> bool:
        return self.provider != "cpu"

    @property
    def halves_weights(self) -> bool:
        """Whether the graph itself is converted: TensorRT chooses the precision of each layer when it builds the engine."""
        return self.provider == "cuda" and self.precision == "fp16"

    @property
    def rtol(self) -> float:
        """How far an answer may be from the one at export, beside the manifest's tolerance."""
        return RTOL[self.precision] if self.is_gpu else 0.0

    def threads(self, cores: int) -> int:
        """For all work of the models. On a GPU half of them may wait for it, and the others still prepare what comes next."""
        return 2 * cores if self.is_gpu else cores

    def rows(self, max_batch_size: int) -> int:
        """The most rows of a run, of a model whose manifest says `max_batch_size`."""
        return self.batch_size or max_batch_size if self.is_gpu else max_batch_size


CPU = Device()


def provider_list(device: Device, engines: ProviderOptions | None = None) -> list[tuple[str, ProviderOptions]]:
    """ONNX Runtime's providers in the order in which they may take nodes, each with its options.

    `engines` are TensorRT's own options for one model; without them TensorRT takes no part, for it would build an engine
    while a request waits.
    """
    providers: list[tuple[str, ProviderOptions]] = [(CPU_PROVIDER, {})]
    if device.is_gpu:
        providers.insert(0, (CUDA_PROVIDER, _cuda_options(device)))
    if device.provider == "tensorrt" and engines is not None:
        providers.insert(0, (TENSORRT_PROVIDER, _tensorrt_options(device) | engines))
    return providers


def _cuda_options(device: Device) -> ProviderOptions:
    options = {
        "device_id": DEVICE_ID,
        "arena_extend_strategy": "kSameAsRequested",  # doubling would take the GPU from other models
        "cudnn_conv_algo_search": "HEURISTIC",  # the exhaustive search is repeated for every new shape
        "use_tf32": _flag(device.precision != "fp32"),  # on by default, and then answers are not the CPU's
    }
    if device.memory_bytes is not None:
        options["gpu_mem_limit"] = str(device.memory_bytes)
    return options


def _tensorrt_options(device: Device) -> ProviderOptions:
    options = {"device_id": DEVICE_ID, "trt_fp16_enable": _flag(device.precision == "fp16")}
    if device.memory_bytes is not None:
        options["trt_max_workspace_size"] = str(device.memory_bytes)
    return options


def environment(device: Device) -> dict[str, str]:
    """Variables that must be there before CUDA is loaded: TensorRT has no option of its own against TF32."""
    return {"NVIDIA_TF32_OVERRIDE": "0"} if device.is_gpu and device.precision == "fp32" else {}


def _flag(value: bool) -> str:
    return "1" if value else "0"
