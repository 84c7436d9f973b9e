"""The pictures that the benchmark sends, made by code: a lesion of the size that dermatoscopes' archives use, and landscapes."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

WIDTH, HEIGHT = 200, 150


def lesion_jpeg(seed: int = 0) -> bytes:
    """A dark, ragged spot on grained skin as a JPEG of about 12 kB: as many bytes to decode as a real one."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    angle = np.arctan2(y - HEIGHT / 2, x - WIDTH / 2)
    radius = 42 + 6 * np.sin(3 * angle + 1) + 4 * np.sin(7 * angle)
    distance = np.hypot(x - WIDTH / 2, y - HEIGHT / 2)
    inside = 1 / (1 + np.exp((distance - radius) / 4))[..., None]  # (H, W, 1), soft at the rim
    skin, spot = np.array([214.0, 160.0, 142.0]), np.array([104.0, 62.0, 52.0])
    pixels = skin + inside * (spot - skin) + random.normal(0, 22, (HEIGHT, WIDTH, 3))
    return _jpeg(pixels)


def landscape_jpeg(side: int, seed: int = 0) -> bytes:
    """A square picture of hills behind each other under a sky, grained as a photograph is."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:side, 0:side] / side
    pixels = np.array([150.0, 185.0, 225.0]) + 40 * (1 - y[..., None])
    for depth, colour in enumerate(([120.0, 140.0, 150.0], [95.0, 125.0, 100.0], [70.0, 85.0, 55.0])):
        ridge = 0.45 + 0.17 * depth + 0.06 * np.sin(5 * x + 2 * depth) + 0.03 * np.sin(17 * x + depth)
        pixels = np.where((y > ridge)[..., None], np.array(colour) + 25 * np.sin(60 * x * (depth + 1))[..., None], pixels)
    return _jpeg(pixels + random.normal(0, 12, (side, side, 3)))


def _jpeg(pixels: NDArray[np.float64]) -> bytes:
    """(H, W, 3)"""
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
