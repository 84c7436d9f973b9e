"""What a training step sees: squares of photographs, and in which styles each is painted.

Shapes: P photographs, K styles of each, S paintings, H x W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import Photographs


def draw_images(photographs: Photographs, config: Config, epoch: int, step: int, rank: int = 0, ranks: int = 1) -> Tensor:
    """This process's part of a step: (P, 3, H, W) in [0, 1], where the photographs are."""
    draw = np.random.default_rng((config.seed, epoch, step))
    numbers = draw.choice(photographs.splits["train"], config.photographs, replace=False)
    seeds = draw.integers(2**32, size=config.photographs)
    mine = part(config, rank, ranks)
    images = [cut(photographs.pixels[number], config, epoch, seed) for number, seed in zip(numbers[mine], seeds[mine], strict=True)]
    return torch.cat(images).contiguous(memory_format=torch.channels_last)


def draw_conditions(config: Config, epoch: int, step: int, rank: int = 0, ranks: int = 1) -> Tensor:
    """The styles of those images, (P, K + 1, S + 1), the last of each the neutral one."""
    return mix_styles(config, np.random.default_rng((config.seed, epoch, step, 1)))[part(config, rank, ranks)]


def part(config: Config, rank: int, ranks: int) -> slice:
    """A process's photographs of a global batch."""
    return slice(rank * config.photographs // ranks, (rank + 1) * config.photographs // ranks)


def mix_styles(config: Config, draw: np.random.Generator) -> Tensor:
    """(P, K + 1, S + 1). Paintings come in turns, so that each is seen equally often; some rows mix two, the neutral one among them."""
    count, paintings = config.photographs * config.styles, len(config.paintings)
    turns = [draw.permutation(paintings) for _ in range(-(-count // paintings))]
    styled = np.eye(paintings + 1, dtype=np.float32)[np.concatenate(turns)[:count]]  # (P K, S + 1)
    for row in np.flatnonzero(draw.random(count) < config.mixture_probability):
        share, other = np.float32(draw.random()), draw.integers(paintings + 1)
        styled[row] *= 1 - share
        styled[row, other] += share
    conditions = np.zeros((config.photographs, config.styles + 1, paintings + 1), np.float32)
    conditions[:, :-1] = styled.reshape(config.photographs, config.styles, paintings + 1)
    conditions[:, -1, -1] = 1
    return torch.from_numpy(conditions)


def cut(pixels: Tensor, config: Config, epoch: int, seed: int) -> Tensor:
    """A square of a photograph (3, H, W), perhaps mirrored, in the epoch's size: (1, 3, crop, crop)."""
    crop_px = config.small_crop_px if epoch < config.small_epochs else config.crop_px
    draw = np.random.default_rng(seed)
    height, width = pixels.shape[1:]
    smallest, largest = (min(side, height, width) for side in config.crop_from_px)
    side = int(draw.integers(smallest, largest + 1))
    top, left = int(draw.integers(height - side + 1)), int(draw.integers(width - side + 1))
    square = pixels[None, :, top : top + side, left : left + side].float() / 255
    if draw.random() < 0.5:
        square = square.flip(3)
    return F.interpolate(square, (crop_px, crop_px), mode="bilinear", antialias=True, align_corners=False)
