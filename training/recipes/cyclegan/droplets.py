"""Generators without droplets.

Instance normalisation leads a generator to one huge peak of all channels somewhere in a picture, by which it sets the scale of
all the rest: a dark droplet in the answer (Karras et al. 2020, arXiv:1912.04958, section 2). In two passes it can be had without:
one as it is, for the mean and the variance of every layer, and one that is normalised by these and has its peaks cut off. In one
pass it can nearly be had, with what peaks do to the statistics on the average of some pictures.
Shapes: B pictures, H x W pixels, C channels of a layer.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.recipes.cyclegan.model import ConvNorm, Generator, Generators


class ClampedConvNorm(nn.Module):
    """A `ConvNorm` whose normalised values have a first scale and shift, then stay within `peak`, then have the layer's own."""

    def __init__(self, layer: ConvNorm, peak: float) -> None:
        super().__init__()
        self.conv, self.peak = layer.conv, peak
        self.norm = nn.InstanceNorm2d(layer.norm.num_features, affine=True)
        self.weight, self.bias = (nn.Parameter(each.detach().clone()) for each in (layer.norm.weight, layer.norm.bias))

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm(self.conv(x)).clamp(-self.peak, self.peak)  # (B, C, h, w)
        return z * self.weight[:, None, None] + self.bias[:, None, None]


def clamp(generators: Generators, peak: float) -> Generators:
    """The same with `ClampedConvNorm` in the residual blocks and on the way up."""
    clamped = copy.deepcopy(generators)
    for generator in clamped.children():
        for parent in (*generator.blocks, generator.up):
            for name, layer in tuple(parent.named_children()):
                if isinstance(layer, ConvNorm):
                    setattr(parent, name, ClampedConvNorm(layer, peak))
    return clamped


class TwoPasses(nn.Module):
    """A trained generator's answer with nothing over `peak` deviations from a channel's mean behind its first three layers."""

    def __init__(self, generator: Generator, peak: float) -> None:
        super().__init__()
        self.generator, self.peak = generator, peak
        self.shares: list[tuple[Tensor, Tensor]] = []  # of the last pictures, for each layer; see `normalise`

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> the same."""
        self.shares = []
        whole = cut = self.generator.down(pictures)
        for block in self.generator.blocks:
            inner = self.normalise(block.second, *map(F.relu, self.normalise(block.first, whole, cut)))
            whole, cut = whole + inner[0], cut + inner[1]
        for layer in self.generator.up:
            whole, cut = self.normalise(layer, whole, cut) if isinstance(layer, ConvNorm) else (layer(whole), layer(cut))
        return torch.tanh(self.generator.colours(cut))

    def normalise(self, layer: ConvNorm, whole: Tensor, cut: Tensor) -> tuple[Tensor, Tensor]:
        """Both (B, C, h, w) through a layer, with the statistics of the first.

        What the second would have had itself is put down as shares of these: its deviation, and how far its mean is off, (B, C).
        """
        whole, cut = layer.conv(whole), layer.conv(cut)
        mean, own_mean = whole.mean((2, 3), keepdim=True), cut.mean((2, 3), keepdim=True)  # (B, C, 1, 1)
        deviation = (whole.var((2, 3), unbiased=False, keepdim=True) + layer.norm.eps).sqrt()
        own = (cut.var((2, 3), unbiased=False, keepdim=True) + layer.norm.eps).sqrt()
        self.shares.append(((own / deviation).flatten(1), ((own_mean - mean) / deviation).flatten(1)))
        weight, bias = layer.norm.weight[:, None, None], layer.norm.bias[:, None, None]
        normalised = ((cut - mean) / deviation).clamp(-self.peak, self.peak)
        return (whole - mean) / deviation * weight + bias, normalised * weight + bias


@torch.no_grad()
def without_droplets(trained: Generators, pictures: tuple[Tensor, Tensor], peak: float) -> Generators:
    """`trained`, clamped, in one pass, with the average statistics that two passes have on `pictures` of A and of B (B, 3, H, W)."""
    copied = clamp(trained, peak)
    for old, new, shown in zip(trained.children(), copied.children(), pictures, strict=True):
        passes = TwoPasses(old, peak)
        passes(shown)
        layers = [module for module in new.modules() if isinstance(module, ClampedConvNorm)]
        for layer, (deviations, means) in zip(layers, passes.shares, strict=True):
            layer.norm.weight.copy_(deviations.mean(0))
            layer.norm.bias.copy_(means.mean(0))
    return copied
