"""What discriminators see of a picture: real ones and fakes are altered in the same ways, so that few pictures are not learnt by heart.

Differentiable augmentation (Zhao et al. 2020, arXiv:2006.10738) by colour, translation and cutout: a fake's gradient comes
back through it, and a generator does not learn the alterations, for real pictures have them too.
Shapes: B pictures, 3 colours, H x W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

DRAWS = 7  # numbers a picture: brightness, saturation, contrast, two of translation, two of the cutout's place
SHIFT = 1 / 8  # of the side, at most
CUTOUT = 1 / 2  # of the side


def draw_augmentation(count: int, generator: torch.Generator) -> Tensor:
    """(count, DRAWS), uniform in [0, 1)."""
    return torch.rand(count, DRAWS, generator=generator)


def augment(pictures: Tensor, draws: Tensor) -> Tensor:
    """(B, 3, H, W) in [-1, 1] altered by draws (B, DRAWS)."""
    brightness, saturation, contrast, *places = (draw[:, None, None, None] for draw in draws.unbind(1))
    x = pictures.float() + (brightness - 0.5)
    x = x.mean(1, keepdim=True).lerp(x, saturation * 2)
    x = x.mean((1, 2, 3), keepdim=True).lerp(x, contrast + 0.5)
    return cut(shift(x, *places[:2]), *places[2:])


def shift(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Whole pixels, up to SHIFT of the side either way, by draws (B, 1, 1, 1); what comes in is grey."""
    height, width = x.shape[2:]
    steps = [((draw.flatten() * 2 - 1) * SHIFT * side).round() * 2 / side for draw, side in ((right, width), (down, height))]
    turn = torch.eye(2, 3, device=x.device).repeat(len(x), 1, 1)
    turn[:, :, 2] = torch.stack(steps, 1)
    grid = F.affine_grid(turn, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def cut(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Grey out a rectangle of CUTOUT of each side whose centre is drawn, (B, 1, 1, 1) each; it may reach over the border."""
    height, width = x.shape[2:]
    rows = torch.arange(height, device=x.device).view(1, 1, -1, 1) / height
    columns = torch.arange(width, device=x.device).view(1, 1, 1, -1) / width
    inside = ((rows - down).abs() < CUTOUT / 2) & ((columns - right).abs() < CUTOUT / 2)
    return x.masked_fill(inside, 0.0)
