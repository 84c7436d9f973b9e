"""The four networks of CycleGAN (Zhu et al. 2017, arXiv:1703.10593).

Shapes: B pictures, 3 colours, H x W pixels with H and W multiples of 4, C channels at full size. Pixels are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from training.nets.vgg19 import stride_of
from training.recipes.cyclegan.config import Config, NetConfig

PATCH_STRIDE = 16  # pixels from one patch to the next, where discriminators judge features


class Generator(nn.Module):
    """Two steps down, residual blocks, two steps up (Johnson et al. 2016, arXiv:1603.08155).

    Up means enlarging, then convolving: transposed convolutions leave a checkerboard (Odena et al. 2016,
    doi:10.23915/distill.00003). The input is not added to the answer: a generator that starts as the identity stays
    there, for at a cycle loss of zero the slope of its L1 norm outweighs the discriminators' (measured: 2,000 steps).
    """

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        full, half, quarter = (config.generator_channels * times for times in (1, 2, 4))
        self.down = nn.Sequential(
            ConvNorm(3, full, 7), nn.ReLU(),
            ConvNorm(full, half, 3, stride=2), nn.ReLU(),
            ConvNorm(half, quarter, 3, stride=2), nn.ReLU(),
        )  # fmt: skip
        self.blocks = nn.Sequential(*(Block(quarter) for _ in range(config.blocks)))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2), ConvNorm(quarter, half, 3), nn.ReLU(),
            nn.Upsample(scale_factor=2), ConvNorm(half, full, 3), nn.ReLU(),
        )  # fmt: skip
        self.colours = nn.Conv2d(full, 3, 7, padding=3, padding_mode="reflect")
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        y = self.blocks(self.down(x))  # (B, 3, H, W) -> (B, 4C, H / 4, W / 4)
        return torch.tanh(self.colours(self.up(y)))  # (B, 3, H, W)


class ConvNorm(nn.Module):
    """Convolution over a reflected border, then instance normalisation (Ulyanov et al. 2016, arXiv:1607.08022)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode="reflect", bias=False)
        self.norm = nn.InstanceNorm2d(outputs, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = ConvNorm(channels, channels, 3), ConvNorm(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class Discriminator(nn.Module):
    """One PatchGAN a view of a picture: its pixels, or what VGG19 sees of it (`views.py`)."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        channels = config.discriminator_channels
        self.heads = nn.ModuleList(
            [feature_head(channels, stride_of(layer)) for layer in config.features]
            or [pixel_head(channels, config.discriminator_layers)]
        )  # fmt: skip

    def forward(self, views: Sequence[Tensor]) -> Tensor:
        """Each (B, C, H / s, W / s) -> (B, heads, h, w): one score a patch and head, 1 for a picture of the domain."""
        return torch.cat([head(view) for head, view in zip(self.heads, views, strict=True)], 1)


def pixel_head(channels: int, layers: int) -> nn.Sequential:
    """PatchGAN (Isola et al. 2017, arXiv:1611.07004): (B, 3, H, W) -> (B, 1, h, w)."""
    inputs = channels
    modules: list[nn.Module] = [nn.Conv2d(3, inputs, 4, 2, 1), nn.LeakyReLU(0.2)]
    for layer in range(1, layers + 1):
        outputs = channels * min(2**layer, 8)
        stride = 2 if layer < layers else 1
        modules += [nn.Conv2d(inputs, outputs, 4, stride, 1, bias=False), nn.InstanceNorm2d(outputs, affine=True), nn.LeakyReLU(0.2)]
        inputs = outputs
    head = nn.Sequential(*modules, nn.Conv2d(inputs, 1, 4, 1, 1))
    return head.apply(initialise)


def feature_head(channels: int, stride: int) -> nn.Sequential:
    """(B, C, H / stride, W / stride) -> (B, 1, H / 16, W / 16), whatever the stride.

    Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957) holds it back: with such eyes it would win at once.
    """
    inputs, modules = channels, list[nn.Module]()
    while stride < PATCH_STRIDE:
        stride, outputs = stride * 2, min(inputs * 2, channels * 4)
        modules += [spectral_norm(nn.Conv2d(inputs, outputs, 4, 2, 1)), nn.LeakyReLU(0.2)]
        inputs = outputs
    modules += [spectral_norm(nn.Conv2d(inputs, inputs, 3, 1, 1)), nn.LeakyReLU(0.2)]
    return nn.Sequential(*modules, nn.Conv2d(inputs, 1, 3, 1, 1))


class Generators(nn.Module):
    """Both directions: `generator_ab` makes pictures of domain B from those of A."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.generator_ab, self.generator_ba = Generator(config), Generator(config)


class Discriminators(nn.Module):
    """`discriminator_a` tells pictures of domain A from fakes."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.discriminator_a, self.discriminator_b = Discriminator(config), Discriminator(config)


def initialise(module: nn.Module) -> None:
    """Normal weights of deviation 0.02, as in the paper."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def build(config: Config) -> tuple[Generators, Discriminators]:
    return Generators(config.net), Discriminators(config.net)


def to_unit(pixels: Tensor) -> Tensor:
    """uint8 pixels to the networks' [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_pixels(x: Tensor) -> Tensor:
    """And back, rounded and clamped."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
