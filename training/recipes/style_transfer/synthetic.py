"""SYNTHETIC pictures for the tests: soft shapes in place of photographs, plain patterns in place of paintings."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE_PX = 72
PAINTINGS = ("stripes", "dots")


def photographs(count: int, seed: int) -> dict[str, bytes]:
    """Name -> PNG, of unequal sizes."""
    draw = np.random.default_rng(seed)
    return {f"synthetic_{i:03d}": to_png(discs(draw, SIDE_PX + 4 * (i % 3), SIDE_PX)) for i in range(count)}


def painting(name: str) -> bytes:
    """PNG of one of PAINTINGS; any other name gives checks, in colours of its own."""
    down, right = np.mgrid[:SIDE_PX, :SIDE_PX] / 8
    patterns = {"stripes": np.sin(down + right), "dots": np.sin(2 * down) * np.sin(2 * right)}
    shade = patterns.get(name, np.sign(np.sin(down) * np.sin(right)))[:, :, None]  # (H, W, 1), from -1 to 1
    draw = np.random.default_rng(list(name.encode()))
    dark, light = draw.uniform(0, 100, 3), draw.uniform(150, 255, 3)
    return to_png(((light + dark) / 2 + (light - dark) / 2 * shade).astype(np.uint8))


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """(H, W, 3) as a file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def discs(draw: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """Soft coloured discs on a gradient, (H, W, 3)."""
    down, right = np.mgrid[:height, :width]
    pixels = draw.uniform(0, 255, 3) + draw.uniform(-1.5, 1.5, 3) * down[:, :, None]  # (H, W, 3)
    for _ in range(4):
        y, x, radius = draw.uniform(0, height), draw.uniform(0, width), draw.uniform(6, 20)
        inside = 1 / (1 + np.exp(np.hypot(down - y, right - x) - radius))[:, :, None]
        pixels = pixels + inside * (draw.uniform(0, 255, 3) - pixels)
    return np.clip(pixels, 0, 255).astype(np.uint8)
