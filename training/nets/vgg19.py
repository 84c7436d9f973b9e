"""VGG19's convolutions (Simonyan & Zisserman 2014, arXiv:1409.1556): what a style and a content are measured in.

A layer is named as in Gatys et al. 2016 and gives its rectified activations: in their Caffe network the ReLU works in place.
Shapes: B images, 3 colours, H x W pixels, C channels of a layer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from app.contract.files import sha256
from app.contract.manifest import DataSource
from training.kit.data import DataError

DEPTHS = (2, 2, 4, 4, 4)  # convolutions of each block; blocks are parted by 2 x 2 max pooling
WIDTHS = (64, 128, 256, 512, 512)
LAYERS = tuple(f"conv{block}_{number}" for block, depth in enumerate(DEPTHS, 1) for number in range(1, depth + 1))

STAND_IN_WIDTHS = (8, 12, 16, 16, 16)

CAFFE_MEAN, CAFFE_DEVIATION = (123.68, 116.779, 103.939), (1.0, 1.0, 1.0)  # of RGB pixels from 0 to 255
TORCHVISION_MEAN, TORCHVISION_DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # the same data, on the scale 0 to 255


class Vgg19Features(nn.Module):
    """Images in [0, 1] to the activations of the layers that are asked for. Its weights are never trained."""

    def __init__(self, depth: int = len(LAYERS), widths: tuple[int, ...] = WIDTHS) -> None:
        """`depth` counts the convolutions that there are; other `widths` make a small stand-in for tests."""
        super().__init__()
        self.layers = LAYERS[:depth]
        inputs = 3
        for layer in self.layers:
            outputs = widths[int(layer[4]) - 1]
            self.add_module(layer, nn.Conv2d(inputs, outputs, 3, padding=1))
            inputs = outputs
        self.mean: Tensor
        self.deviation: Tensor
        self.register_buffer("mean", torch.tensor(CAFFE_MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(CAFFE_DEVIATION).view(1, 3, 1, 1))
        self.requires_grad_(False)

    def forward(self, images: Tensor, layers: Iterable[str]) -> dict[str, Tensor]:
        """(B, 3, H, W) -> layer name: (B, C, H / s, W / s), where s doubles with each block. No deeper layer is computed."""
        wanted = set(layers)
        x = (images * 255 - self.mean) / self.deviation
        found: dict[str, Tensor] = {}
        for layer in self.layers:
            if layer.endswith("_1") and layer != "conv1_1":
                x = F.max_pool2d(x, 2)  # (B, C, h, w) -> (B, C, h / 2, w / 2)
            x = F.relu(self.get_submodule(layer)(x), inplace=True)
            if layer in wanted:
                found[layer] = x
            if len(found) == len(wanted):
                return found
        raise DataError(f"these VGG19 weights end at {self.layers[-1]}; {', '.join(sorted(wanted - set(found)))} needs a full checkpoint")


def stride_of(layer: str) -> int:
    """Pixels of the image from one place of a layer to the next: 1 for `conv1_2`, 4 for `conv3_1`."""
    return int(2 ** (int(layer[4]) - 1))


def stand_in() -> Vgg19Features:
    """Few channels with random weights, the same every time: what tests have in VGG19's place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Vgg19Features(depth=8, widths=STAND_IN_WIDTHS).eval()


def find_vgg19(name: str, data_root: Path | None) -> Vgg19Features:
    """From the file of that name under the data root, or anywhere. Raises DataError."""
    return load_vgg19(vgg19_file(name, data_root))


def vgg19_file(name: str, data_root: Path | None) -> Path:
    """Where the weights lie. Raises DataError that says where they are to be had."""
    path = Path(name)
    path = path if data_root is None or path.is_file() else data_root / path
    if not path.is_file():
        raise DataError(
            f"{path} is missing: name VGG19's weights with vgg19=PATH, or the folder that holds them with --data-root "
            "(safetensors, or torchvision's vgg19-dcbb9e9d.pth: the recipe's README says where it is)"
        )
    return path


def vgg19_source(path: Path) -> DataSource:
    """What a manifest says of weights that a loss looks through: of the authors' own the licence is known."""
    theirs = path.suffix == ".safetensors"
    source = "Simonyan and Zisserman 2014, arXiv:1409.1556" if theirs else f"a checkpoint with torchvision's keys, {path.name}"
    return DataSource(name="VGG19", source=source, sha256=sha256(path), licence="CC-BY-4.0" if theirs else "unknown")


def load_vgg19(path: Path) -> Vgg19Features:
    """From a safetensors file with the keys `conv1_1.weight` ..., or a checkpoint with torchvision's (`features.0.weight` ...).

    Either may end early. The first are Caffe's weights for RGB pixels less their mean, the second torchvision's, whose pixels
    are also divided by their deviation. Raises DataError.
    """
    path = vgg19_file(str(path), None)
    tensors = read_safetensors(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
    from_torchvision = "features.0.weight" in tensors
    if from_torchvision:
        tensors = from_torchvision_keys(tensors)
    depth = next((number for number, layer in enumerate(LAYERS) if f"{layer}.weight" not in tensors), len(LAYERS))
    if not depth:
        raise DataError(f"{path} holds no VGG19: neither conv1_1.weight nor features.0.weight is in it")
    network = Vgg19Features(depth)
    weights = {f"{layer}.{kind}": tensors[f"{layer}.{kind}"] for layer in network.layers for kind in ("weight", "bias")}
    network.load_state_dict(weights, strict=False)  # the buffers are not in the file
    if from_torchvision:
        network.mean.copy_(torch.tensor(TORCHVISION_MEAN).view(1, 3, 1, 1))
        network.deviation.copy_(torch.tensor(TORCHVISION_DEVIATION).view(1, 3, 1, 1))
    return network.eval()


def from_torchvision_keys(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`features.N.weight` counts convolutions, ReLUs and poolings alike: `features.5` is conv2_1."""
    renamed: dict[str, Tensor] = {}
    place = 0
    for layer in LAYERS:
        if layer.endswith("_1") and layer != "conv1_1":
            place += 1  # the pooling
        for kind in ("weight", "bias"):
            if f"features.{place}.{kind}" in tensors:
                renamed[f"{layer}.{kind}"] = tensors[f"features.{place}.{kind}"]
        place += 2  # the convolution and its ReLU
    return renamed


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The float32 tensors of a file: eight bytes of length, a JSON header with names, shapes and places, then the numbers."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors: dict[str, Tensor] = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "F32":
            raise DataError(f"{path}: {name} is {entry['dtype']}, not F32")
        first, last = entry["data_offsets"]
        numbers = np.frombuffer(data[start + first : start + last], "<f4").reshape(entry["shape"])
        tensors[name] = torch.from_numpy(numbers.copy())
    return tensors
