"""Sheets of painted photographs, to look at: a row a photograph, a column a style."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from training.recipes.style_transfer.data import Photographs, to_pixels
from training.recipes.style_transfer.model import TransformNet

GAP_PX = 4
SHEET_PHOTOGRAPHS, SHEET_PX = 3, 192


def centre_squares(photographs: Photographs, numbers: Iterable[int], px: int) -> Tensor:
    """Photographs as squares of one size, in [0, 1]: (N, 3, px, px)."""
    pictures = (Image.fromarray(photographs.pixels[i].permute(1, 2, 0).numpy()) for i in numbers)
    squares = [ImageOps.fit(picture, (px, px), Image.Resampling.LANCZOS) for picture in pictures]
    return torch.from_numpy(np.stack([to_pixels(square) for square in squares])).float() / 255


@torch.no_grad()
def write_sheet(path: Path, network: TransformNet, photographs: Photographs) -> None:
    """Validation photographs beside themselves in the neutral row and in every style."""
    network.eval()
    device = next(network.parameters()).device
    images = centre_squares(photographs, photographs.splits["validation"][:SHEET_PHOTOGRAPHS], SHEET_PX)
    choices = torch.eye(network.share.shape[0]).roll(1, 0)  # the neutral row first
    rows = []
    for image in images.split(1):
        painted = network(image.expand(len(choices), -1, -1, -1).to(device), choices.to(device)).cpu()
        rows.append([image[0], *painted])
    path.parent.mkdir(parents=True, exist_ok=True)
    tile(rows).save(path)


def tile(rows: Sequence[Sequence[Tensor]]) -> Image.Image:
    """Rows of pictures (3, H, W) in [0, 1], all of one size, on white."""
    return Image.fromarray(np.concatenate([np.concatenate([_framed(cell) for cell in row], axis=1) for row in rows]))


def _framed(cell: Tensor) -> NDArray[np.uint8]:
    pixels = (cell.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()  # (3, H, W) -> (H, W, 3)
    return np.pad(pixels, ((0, GAP_PX), (0, GAP_PX), (0, 0)), constant_values=255)
