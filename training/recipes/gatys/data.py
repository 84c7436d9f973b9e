"""The two pictures of a run: a photograph and a painting, yours, or drawn for the tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.contract.images import PhotographProcessor, decode, to_image
from training.kit.data import DataError, naming
from training.kit.run import Run
from training.recipes.gatys.config import Config

SYNTHETIC_PX = 48


@dataclass(frozen=True)
class Pictures:
    content: Tensor  # (1, 3, H, W) in [0, 1]
    style: Tensor  # (1, 3, h, w) in [0, 1]

    def to(self, device: torch.device) -> Pictures:
        return Pictures(self.content.to(device), self.style.to(device))


def prepare(run: Run[Config]) -> None:
    """Nothing is kept: two pictures are read in no time. A file that is missing or damaged is found here."""
    load(run)


def load(run: Run[Config]) -> Pictures:
    """Both pictures in the sizes of the run. Raises DataError."""
    config = run.config
    if config.synthetic and not config.content and not config.style:
        down, right = np.mgrid[:SYNTHETIC_PX, :SYNTHETIC_PX] / SYNTHETIC_PX
        return Pictures(_drawn(down, right, right), _drawn(np.sin(40 * down), np.sin(40 * right), down))
    content = read(config.content, "content")
    with naming(config.content):  # one that is too narrow
        photograph = PhotographProcessor(max_side_px=config.size_px).to_pixels(content)
    painting = read(config.style, "style")
    scale = config.painting_px / min(painting.size)
    painting = painting.resize((round(painting.width * scale), round(painting.height * scale)), Image.Resampling.LANCZOS)
    return Pictures(torch.from_numpy(photograph)[None].float() / 255, to_tensor(painting))


def read(path: str, name: str) -> Image.Image:
    if not path:
        raise DataError("name two pictures: axon-train gatys train --content photo.jpg --style painting.jpg")
    if not Path(path).is_file():
        raise DataError(f"{name}: there is no file {path}")
    with naming(path):
        return decode(Path(path).read_bytes())


def write(picture: Tensor, path: Path) -> None:
    """(1, 3, H, W) in [0, 1] as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    to_image(picture[0].float().cpu().numpy()).save(path)


def to_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255  # (H, W, 3) -> (1, 3, H, W)


def _drawn(*channels: NDArray[Any]) -> Tensor:
    pixels = np.stack([channel - channel.min() for channel in channels])
    return torch.from_numpy(pixels / pixels.max()).float()[None]
