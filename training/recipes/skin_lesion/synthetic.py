"""Synthetic lesions: coloured blobs in HAM10000's file layout, for runs that need no data set. Not medical images."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

WIDTH, HEIGHT = 200, 150
SKIN = np.array([205.0, 165.0, 145.0])
COLOURS = {  # a class is a colour, with enough noise that no model is perfect
    "akiec": (190, 120, 110),
    "bcc": (170, 140, 160),
    "bkl": (150, 125, 95),
    "df": (180, 140, 110),
    "mel": (70, 50, 50),
    "nv": (125, 85, 65),
    "vasc": (170, 50, 70),
}
SITES = ("back", "trunk", "face", "lower extremity", "unknown")


def draw(folder: Path, lesions: int, seed: int) -> None:
    """Write `lesions` lesions, one or two images of each, with a metadata file that has every diagnosis."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    rows = []
    for lesion in range(lesions):
        diagnosis = list(COLOURS)[lesion % len(COLOURS)]
        age, sex, site = generator.integers(2, 18) * 5, generator.choice(["male", "female"]), generator.choice(SITES)
        for _ in range(1 + lesion % 2):
            image_id = f"SYNTHETIC_{len(rows):05d}"
            Image.fromarray(lesion_image(diagnosis, generator)).save(images / f"{image_id}.jpg", quality=90)
            rows.append((f"SYNTHETIC_LESION_{lesion:05d}", image_id, diagnosis, "synthetic", f"{age}.0", sex, site))
    with (folder / "HAM10000_metadata.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization"))
        writer.writerows(rows)


def lesion_image(diagnosis: str, generator: np.random.Generator) -> NDArray[np.uint8]:
    """One blob on skin, (150, 200, 3)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    centre_x, centre_y = generator.normal(WIDTH / 2, 12), generator.normal(HEIGHT / 2, 9)
    radius_x, radius_y = generator.uniform(25, 60), generator.uniform(20, 45)
    distance = np.hypot((x - centre_x) / radius_x, (y - centre_y) / radius_y)
    inside = 1 / (1 + np.exp(8 * (distance - 1)))[..., None]
    colour = np.array(COLOURS[diagnosis]) + generator.normal(0, 18, 3)
    picture = SKIN * (1 - inside) + colour * inside + generator.normal(0, 6, (HEIGHT, WIDTH, 3))
    return np.clip(picture, 0, 255).astype(np.uint8)
