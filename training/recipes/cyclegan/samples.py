"""Grids of pictures to look at while a network trains: what no loss of a GAN says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from training.kit.run import Run
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import Domains, centres
from training.recipes.cyclegan.model import Generators, to_pixels, to_unit

Pixels = NDArray[np.uint8]
GAP = 4  # pixels between pictures


def save_samples(run: Run[Config], generators: Generators, domains: Domains, epoch: int) -> None:
    """samples/epoch-000.png: training pictures of A, their fakes and their way back, then the same of B. Test pictures stay unseen."""
    rows: list[Pixels] = []
    for domain, there, back in (
        (domains.a, generators.generator_ab, generators.generator_ba),
        (domains.b, generators.generator_ba, generators.generator_ab),
    ):
        real = centres(domain, domain.splits["train"][: run.config.sample_pictures], run.config.crop_size)
        fake = translate(there, real)
        rows += [real, fake, translate(back, fake)]
    folder = run.directory / "samples"
    folder.mkdir(exist_ok=True)
    grid(rows).save(folder / f"epoch-{epoch:03d}.png")


@torch.no_grad()
def translate(generator: nn.Module, pixels: Pixels, batch_size: int = 8) -> Pixels:
    """uint8 pictures (N, 3, H, W) through one generator, rounded to uint8 as a client gets them."""
    device = next(generator.parameters()).device
    batches = (torch.from_numpy(pixels[i : i + batch_size]).to(device) for i in range(0, len(pixels), batch_size))
    return torch.cat([to_pixels(generator(to_unit(batch))).cpu() for batch in batches]).numpy()


def grid(rows: Sequence[Pixels]) -> Image.Image:
    """Rows of pictures (N, 3, S, S) as one picture on white; all have one size."""
    side = rows[0].shape[-1] + GAP
    canvas = np.full((len(rows) * side - GAP, len(rows[0]) * side - GAP, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            canvas[y * side : y * side + side - GAP, x * side : x * side + side - GAP] = picture.transpose(1, 2, 0)
    return Image.fromarray(canvas)
