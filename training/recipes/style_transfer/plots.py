"""The pictures of an evaluation: loss curves, the contact sheet, and one photograph in every style."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
import torch
from matplotlib import pyplot
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from app.contract.images import decode
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import load, painting_file, to_pixels
from training.recipes.style_transfer.model import TransformNet
from training.recipes.style_transfer.sheets import tile
from training.recipes.style_transfer.yardstick import Descent

DPI = 90
QUALITY = 88


def draw(
    run: Run[Config],
    network: TransformNet,
    paintings: list[str],
    images: Tensor,
    painted: Tensor,
    descents: list[list[Descent]],
    curves: dict[str, NDArray[np.float64]],
    ours: float,
) -> None:
    """Write every plot into the run's plots/ folder."""
    folder = run.directory / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    RunLog(run.directory, quiet=True).plot(folder / "loss.png", ["content", "style", "validation_loss"])
    draw_yardstick(folder / "yardstick.png", curves, ours)
    rows = []
    for place, painting in enumerate(paintings):
        number = place % len(images)
        gatys = descents[number][place].last_picture[0]
        rows.append([images[number], square(run, painting, images.shape[-1]), gatys, painted[number, place]])
    tile(rows).save(folder / "contact_sheet.jpg", quality=QUALITY)
    draw_styles(folder / "styles.jpg", run, network)


def draw_yardstick(path: Path, curves: dict[str, NDArray[np.float64]], ours: float) -> None:
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for method, losses in curves.items():
        axes.plot(losses, label=f"Gatys, {method}")
    axes.axhline(ours, color="black", linestyle="--", label="TransformNet, one pass")
    axes.set(xlabel="steps", ylabel="total loss, test photographs", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)


@torch.no_grad()
def draw_styles(path: Path, run: Run[Config], network: TransformNet) -> None:
    """One test photograph in its own size and shape: as it is, in the neutral row, and in every style, four in a row."""
    photographs = load(run)
    image = photographs.pixels[photographs.splits["test"][0]][None].float() / 255  # (1, 3, H, W)
    choices = torch.eye(network.share.shape[0]).roll(1, 0)  # the neutral row first
    cells = [image[0], *(network(image, choice[None])[0] for choice in choices)]
    cells += [torch.ones_like(image[0])] * (-len(cells) % 4)
    tile([cells[i : i + 4] for i in range(0, len(cells), 4)]).save(path, quality=QUALITY)


def square(run: Run[Config], painting: str, px: int) -> Tensor:
    """The middle of a painting, (3, px, px) in [0, 1]."""
    image = ImageOps.fit(decode(painting_file(run, painting)), (px, px), Image.Resampling.LANCZOS)
    return torch.from_numpy(to_pixels(image)).float() / 255
