"""The four networks of CycleGAN (Zhu et al. 2017, arXiv:1703.10593).

Shapes: B pictures, 3 colours, H x W pixels with H and W multiples of 4, C channels at full size. Pixels are in [-1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.recipes.cyclegan.config import Config, NetConfig


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
    """PatchGAN (Isola et al. 2017, arXiv:1611.07004): one score a patch, 1 for a picture of the domain."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        inputs = config.discriminator_channels
        layers: list[nn.Module] = [nn.Conv2d(3, inputs, 4, 2, 1), nn.LeakyReLU(0.2)]
        for layer in range(1, config.discriminator_layers + 1):
            outputs = config.discriminator_channels * min(2**layer, 8)
            stride = 2 if layer < config.discriminator_layers else 1
            layers += [nn.Conv2d(inputs, outputs, 4, stride, 1, bias=False), nn.InstanceNorm2d(outputs, affine=True), nn.LeakyReLU(0.2)]
            inputs = outputs
        self.layers = nn.Sequential(*layers, nn.Conv2d(inputs, 1, 4, 1, 1))
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)  # (B, 3, H, W) -> (B, 1, h, w)


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
