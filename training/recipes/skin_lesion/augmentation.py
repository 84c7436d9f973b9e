"""Training images, changed a batch at a time on tensors, where they are: on a CPU or a GPU.

Every draw comes from one generator of the CPU, so a batch can be made again anywhere.
Shapes: B images, 3 colours, S x S pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.recipes.skin_lesion.config import Augmentation

GREY = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)  # ITU-R BT.601 luma


def dihedral(images: Tensor, turn: int) -> Tensor:
    """One of the eight turns and flips of a square, 0 to 7; 0 changes nothing."""
    if turn & 1:
        images = images.flip(-1)
    if turn & 2:
        images = images.flip(-2)
    return images.transpose(-1, -2) if turn & 4 else images


def turn_each(images: Tensor, turns: Tensor) -> Tensor:
    """Each of (B, 3, S, S) by its own turn, (B,): what `dihedral` does to one of them, in three steps for all."""
    for bit, turned in ((1, lambda x: x.flip(-1)), (2, lambda x: x.flip(-2)), (4, lambda x: x.transpose(-1, -2))):
        images = torch.where((turns & bit).bool().view(-1, 1, 1, 1), turned(images), images)
    return images.contiguous()


def augment(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """uint8 (B, 3, S, S) -> float (B, 3, S, S), still on the scale 0 to 255."""
    turns = torch.randint(8, (len(images),), generator=generator).to(images.device)
    turned = turn_each(images, turns).float()
    return _recolour(_move(turned, settings, generator), settings, generator)


def mix(images: Tensor, targets: Tensor, settings: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixup of each image with its neighbour (2i with 2i + 1), so that the halves of a split batch mix the same way."""
    mixed = torch.rand((), generator=generator) < settings.mixup_probability
    weight = _beta(settings.mixup_alpha, generator)
    if not mixed or len(images) % 2:
        return images, targets
    partner = torch.arange(len(images), device=images.device) ^ 1
    return images.lerp(images[partner], weight), targets.lerp(targets[partner], weight)


def _beta(alpha: float, generator: torch.Generator) -> float:
    """The smaller side of a draw from Beta(alpha, alpha), by Joehnk's rejection."""
    while True:
        u, v = torch.rand(2, generator=generator).pow(1 / alpha).tolist()
        if 0 < u + v <= 1:
            return float(min(u, v) / (u + v))


def _uniform(size: tuple[int, ...], limit: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(size, generator=generator) * 2 - 1) * limit  # on the CPU


def _move(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Turn, zoom and shift a share of the images, mirrored beyond the border. The others keep their exact pixels."""
    count = len(images)
    chosen = torch.nonzero(torch.rand(count, generator=generator) < settings.affine_probability).flatten()
    angle = _uniform((count,), math.radians(settings.rotation_degrees), generator)
    scale = torch.exp(_uniform((count,), math.log(1 + settings.zoom), generator))
    shift = _uniform((count, 2, 1), 2 * settings.shift, generator)  # the grid runs from -1 to 1
    if not len(chosen):
        return images
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rotation = torch.stack([cos, -sin, sin, cos], 1).view(count, 2, 2)
    theta = torch.cat([rotation, shift], 2)[chosen].to(images.device)  # (b, 2, 3)
    grid = F.affine_grid(theta, [len(theta), *images.shape[1:]], align_corners=False)
    chosen = chosen.to(images.device)
    images[chosen] = F.grid_sample(images[chosen], grid, padding_mode="reflection", align_corners=False)
    return images


def _recolour(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and tint as one affine map of each image's colours."""
    size = (len(images), 1, 1, 1)
    gain = 1 + _uniform(size, settings.brightness, generator) + _uniform((len(images), 3, 1, 1), settings.tint, generator)
    contrast = 1 + _uniform(size, settings.contrast, generator)
    saturation = 1 + _uniform(size, settings.saturation, generator)
    gain, contrast, saturation, weights = (part.to(images.device) for part in (gain, contrast, saturation, GREY))
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (images - mean) * contrast + mean
    grey = (images * weights).sum(1, keepdim=True)  # (B, 1, S, S)
    return ((images - grey) * saturation + grey).mul_(gain).clamp_(0, 255)
