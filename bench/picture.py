"""The request that every part of the benchmark sends: a picture made by code, of the size that dermatoscopes' archives use."""

from __future__ import annotations

import io

import numpy as np
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
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
