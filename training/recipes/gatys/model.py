"""What is minimised: alpha x content + beta x style + smoothness. There is no network to train: the image is the only parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.kit.run import Run
from training.nets.perceptual import PerceptualLoss, total_variation
from training.nets.vgg19 import Vgg19Features, find_vgg19, stand_in
from training.recipes.gatys.config import Config
from training.recipes.gatys.data import Pictures


class GatysLoss(nn.Module):
    """The losses of an image (1, 3, H, W) against one photograph and one painting, as a network sees them."""

    def __init__(self, features: Vgg19Features, pictures: Pictures, config: Config) -> None:
        super().__init__()
        self.perceptual = PerceptualLoss(features, config.content_layer, config.style_layers)
        self.weights = torch.tensor([config.content_weight, config.style_weight, config.variation_weight])
        self.content = self.perceptual.content(pictures.content)  # (1, C, h, w)
        self.grams = self.perceptual.style(pictures.style)  # layer: (1, C, C)

    def forward(self, image: Tensor) -> Tensor:
        """Content, style and smoothness, each times its weight: (3,)."""
        content, style = self.perceptual(image, self.content, self.grams)  # (1,), (1, 1)
        return torch.cat([content, style[0], total_variation(image)]) * self.weights.to(image.device)


def load_features(run: Run[Config]) -> Vgg19Features:
    """VGG19 up to where the file ends; for synthetic pictures a narrow random network in its place. Raises DataError."""
    return stand_in() if run.config.synthetic else find_vgg19(run.config.vgg19, run.data_root)
