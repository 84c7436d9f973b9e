"""The pictures of the README: the losses of a run, and a contact sheet of unseen pictures."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.samples import GAP, Pixels, grid

MARGIN = 18  # pixels above each half, for its title
QUALITY = 88


def draw(run: Run[Config], rows: list[Pixels], directions: tuple[str, str]) -> None:
    """Into the run's folder `plots/`. `rows`: three for each direction."""
    folder = run.directory / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    log = RunLog(run.directory, quiet=True)
    log.plot(folder / "adversarial.png", ["discriminator_a", "discriminator_b", "adversarial_ab", "adversarial_ba"])
    log.plot(folder / "cycle.png", ["cycle_a", "cycle_b", "identity_a", "identity_b"])
    contact_sheet(folder / "contact_sheet.jpg", rows, directions)


def contact_sheet(path: Path, rows: list[Pixels], directions: tuple[str, str]) -> None:
    """Each half: pictures as they were, translated, and translated back."""
    halves = [grid(rows[:3]), grid(rows[3:])]
    width, height = halves[0].width, sum(half.height + MARGIN + GAP for half in halves)
    sheet = Image.new("RGB", (width, height), "white")
    y = 0
    for half, direction in zip(halves, directions, strict=True):
        ImageDraw.Draw(sheet).text((2, y + 3), f"{direction}: test picture, translated, and back", fill="black")
        sheet.paste(half, (0, y + MARGIN))
        y += half.height + MARGIN + GAP
    sheet.save(path, quality=QUALITY)
