"""Parameters, floating-point operations and time, beside the network that everyone knows: the ONNX zoo's fast-neural-style.

Its architecture is built here with random weights, since only its cost is of interest, and both run in ONNX Runtime in turn.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from app.contract.manifest import TensorSpec
from training.kit.export import export, open_session
from training.recipes.style_transfer.model import TransformNet
from training.recipes.style_transfer.served import ServedTransform, tensor_specs

COUNTED_PX = 224
ROUNDS = 3  # the fastest counts: other work on the machine only ever adds


class FastNeuralStyle(nn.Module):
    """Johnson et al. 2016 as in the ONNX zoo: 32, 64, 128 channels, 9 x 9 at both ends, five blocks. (B, 3, H, W) from 0 to 255."""

    def __init__(self) -> None:
        super().__init__()
        blocks = [layer for _ in range(5) for layer in (_conv(128, 128), _conv(128, 128))]
        self.start = nn.Sequential(_conv(3, 32, 9), nn.ReLU(), _conv(32, 64, 3, 2), nn.ReLU(), _conv(64, 128, 3, 2), nn.ReLU())
        self.blocks = nn.ModuleList(blocks)
        self.up1, self.up2, self.canvas = _conv(128, 64), _conv(64, 32), _conv(32, 3, 9)[0]

    def forward(self, images: Tensor) -> Tensor:
        x = self.start(images)  # (B, 128, H / 4, W / 4)
        for first, second in zip(self.blocks[::2], self.blocks[1::2], strict=True):
            x = x + second(F.relu(first(x)))
        for layer in (self.up1, self.up2):
            x = F.relu(layer(F.interpolate(x, scale_factor=2.0, mode="nearest")))
        painted: Tensor = self.canvas(x)  # (B, 3, H, W)
        return painted


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode="reflect")
    return nn.Sequential(conv, nn.InstanceNorm2d(outputs, affine=True))


def compare(network: TransformNet, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Name -> parameters, GFLOP at 224 px, and milliseconds per megapixel at each size, one picture and one thread."""
    choices = network.share.shape[0]
    inputs, outputs = tensor_specs(choices)
    plain = TensorSpec(name="images", datatype="FP32", shape=(-1, 3, -1, -1))
    theirs = [plain], [plain.model_copy(update={"name": "painted"})]
    networks: dict[str, tuple[nn.Module, Any]] = {
        "TransformNet": (ServedTransform(network).eval(), (inputs, outputs)),
        "fast-neural-style": (FastNeuralStyle().eval(), theirs),
    }
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        sessions = {}
        for name, (module, specs) in networks.items():
            result[name] = count(module, specs[0])
            path = Path(folder) / f"{name}.onnx"
            export(name, module, path, *specs, cases=[feed(specs[0], 64)], atol=1e-1)
            sessions[name] = open_session(path), specs[0]
        for px in sizes:
            times: dict[str, list[float]] = {name: [] for name in sessions}
            for _ in range(ROUNDS):
                for name, (session, specs) in sessions.items():
                    began = time.perf_counter()
                    session.run(None, feed(specs, px))
                    times[name].append(time.perf_counter() - began)
            for name, measured in times.items():
                result[name][f"ms_per_megapixel_at_{px}_px"] = round(1e3 * min(measured) / (px * px / 1e6), 1)
    return result


@torch.no_grad()
def count(module: nn.Module, inputs: list[TensorSpec]) -> dict[str, Any]:
    with FlopCounterMode(display=False) as counter:
        module(*(torch.from_numpy(array) for array in feed(inputs, COUNTED_PX).values()))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return {"parameters": parameters, f"gflop_at_{COUNTED_PX}_px": round(counter.get_total_flops() / 1e9, 2)}


def feed(inputs: list[TensorSpec], px: int) -> dict[str, np.ndarray[Any, Any]]:
    """One square picture of noise, and equal weights of all choices."""
    draw = np.random.default_rng(0)
    shapes = {spec.name: (1, 3, px, px) if len(spec.shape) == 4 else (1, spec.shape[1]) for spec in inputs}
    return {
        spec.name: draw.integers(0, 256, shapes[spec.name]).astype(spec.dtype)
        if len(spec.shape) == 4
        else np.full(shapes[spec.name], 1 / spec.shape[1], np.float32)
        for spec in inputs
    }
