"""Synthetic domains: the same blobs on grass, plain brown ones and striped ones, for runs that need no data set. No animals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 80


def draw(folder: Path, pictures: int, seed: int) -> tuple[Path, Path]:
    """Write plain/ and striped/, `pictures` PNG files each; no blob is in both. Returns the two folders."""
    generator = np.random.default_rng(seed)
    folders = folder / "plain", folder / "striped"
    for domain in folders:
        domain.mkdir(parents=True, exist_ok=True)
        for number in range(pictures):
            picture = blob(generator, striped=domain.name == "striped")
            Image.fromarray(picture).save(domain / f"SYNTHETIC_{domain.name}_{number:04d}.png")
    return folders


def blob(generator: np.random.Generator, striped: bool, height: int = SIDE, width: int = SIDE) -> NDArray[np.uint8]:
    """One oval on a green ground, (H, W, 3): brown, or black and white in stripes 8 px apart."""
    y, x = np.mgrid[0:height, 0:width]
    centre_x, centre_y = generator.normal(width / 2, width / 12), generator.normal(height / 2, height / 12)
    radius_x, radius_y = width * generator.uniform(0.25, 0.4), height * generator.uniform(0.2, 0.35)
    distance = np.hypot((x - centre_x) / radius_x, (y - centre_y) / radius_y)
    inside = 1 / (1 + np.exp(12 * (distance - 1)))[..., None]
    stripes = 128 + 90 * np.sin(2 * np.pi * (x + 0.3 * y + generator.uniform(0, 8)) / 8)[..., None].repeat(3, 2)
    coat = stripes if striped else np.array([130.0, 80.0, 45.0]) + generator.normal(0, 12, 3)
    ground = np.array([90.0, 140.0, 70.0]) + generator.normal(0, 12, 3)
    picture = ground * (1 - inside) + coat * inside + generator.normal(0, 5, (height, width, 3))
    return np.clip(picture, 0, 255).astype(np.uint8)
