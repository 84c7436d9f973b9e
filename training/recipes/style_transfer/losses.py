"""The loss of a painted image: the yardstick's own, and what the network's training adds to it.

Shapes: B images, 3 colours, H x W pixels, S paintings, and the condition (B, S + 1) whose last column is the neutral row's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from training.kit.run import Run
from training.nets.perceptual import PerceptualLoss, total_variation
from training.nets.vgg19 import Vgg19Features, find_vgg19, stand_in
from training.recipes.style_transfer.config import Config, LossConfig
from training.recipes.style_transfer.data import load_painting


class PaintingLoss(nn.Module):
    """Content, style and smoothness against every painting of the run, whose Gram matrices are computed once."""

    def __init__(self, perceptual: PerceptualLoss, styles: Mapping[str, Tensor], weights: Tensor, config: LossConfig) -> None:
        """`styles` are layer: (S, C, C), `weights` (S,) is each painting's beta."""
        super().__init__()
        self.perceptual, self.config = perceptual, config
        for layer, grams in styles.items():
            self.register_buffer(f"gram_{layer}", grams)
        self.weights: Tensor
        self.register_buffer("weights", weights)

    def forward(self, painted: Tensor, content: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """(content and smoothness, style) of each image by its condition, (B,) both. Gatys' method minimises their sum."""
        grams = {layer: self.get_buffer(f"gram_{layer}") for layer in self.perceptual.style_layers}
        content_losses, style_losses = self.perceptual(painted, content, grams)  # (B,), (B, S)
        styled = condition[:, :-1]
        kept = content_losses + self.config.variation_weight * total_variation(painted.float())
        return styled.sum(1) * kept, (styled * self.weights * style_losses).sum(1)

    def anchors(self, painted: Tensor, images: Tensor, condition: Tensor) -> Tensor:
        """What only a network needs: the neutral share gives the photograph back, and pixels stay between 0 and 1. (B,)"""
        neutral = condition[:, -1]
        beyond = painted - painted.clamp(0, 1)
        return (
            self.config.reconstruction_weight * neutral * (painted - images).square().mean((1, 2, 3))
            + self.config.range_weight * beyond.square().mean((1, 2, 3))
        )  # fmt: skip


def build_loss(run: Run[Config], paintings: Iterable[str]) -> PaintingLoss:
    """Of these paintings, in this order."""
    config, paintings = run.config.loss, list(paintings)
    perceptual = PerceptualLoss(load_features(run), config.content_layer, config.style_layers)
    grams = [perceptual.style(load_painting(run, painting)) for painting in paintings]
    weights = torch.tensor([config.style_weight * config.painting_weights.get(painting, 1.0) for painting in paintings])
    return PaintingLoss(perceptual, {layer: torch.cat([gram[layer] for gram in grams]) for layer in grams[0]}, weights, config)


def load_features(run: Run[Config]) -> Vgg19Features:
    """VGG19 up to where the file ends; for synthetic pictures a narrow random network in its place. Raises DataError."""
    features = stand_in() if run.config.synthetic else find_vgg19(run.config.loss.vgg19, run.data_root)
    return features.to(memory_format=torch.channels_last)
