"""Perceptual losses (Gatys, Ecker & Bethge 2016, "Image Style Transfer Using Convolutional Neural Networks", CVPR).

Every loss gives one figure an image, so that a batch of images with different contents and styles has its own figure for each.
We divide the paper's squared errors by the target's own mean square: a loss of 1 is then the error of an empty picture, and
neither a layer, nor a painting, nor the picture's size sets the scale. The paper has constants of size and channels there.
Shapes: B images, S styles, C channels, H x W places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from training.nets.vgg19 import Vgg19Features

SMALL = 1e-8


def gram_matrix(features: Tensor) -> Tensor:
    """Mean product of each pair of channels over all places, (B, C, H, W) -> (B, C, C), in float32."""
    gram: Tensor = _Gram.apply(features)
    return gram


class _Gram(torch.autograd.Function):
    """X^T X / n of places X (n, C). Its gradient is X (D + D^T) / n: one product where autograd would take two and add them.

    The sums are in float32 whatever the features are: bfloat16 would round each to three digits. Places stay rows, which is
    how a `channels_last` tensor lies in memory.
    """

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.save_for_backward(features)
        with torch.autocast(features.device.type, enabled=False):
            rows = features.permute(0, 2, 3, 1).flatten(1, 2).float()  # (B, H W, C)
            return rows.transpose(1, 2) @ rows / rows.shape[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (features,) = ctx.saved_tensors
        height, width = features.shape[2:]
        rows = features.permute(0, 2, 3, 1).flatten(1, 2)  # (B, H W, C)
        both = ((gradient + gradient.transpose(1, 2)) / (height * width)).to(rows.dtype)  # (B, C, C)
        return (rows @ both).unflatten(1, (height, width)).permute(0, 3, 1, 2)


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """How far activations (B, C, H, W) are from those of the content image, relative to them: (B,)."""
    target = target.float()
    return (features.float() - target).square().mean((1, 2, 3)) / (target.square().mean((1, 2, 3)) + SMALL)


def style_loss(grams: Mapping[str, Tensor], targets: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Weighted sum over the layers of the relative error of the Gram matrices: (B, C, C) against each of (S, C, C), (B, S)."""
    return torch.stack([weight * gram_error(grams[layer], targets[layer]) for layer, weight in weights.items()]).sum(0)


def gram_error(gram: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference relative to the target's mean square: (B, C, C), (S, C, C) -> (B, S)."""
    difference = gram[:, None] - target[None]  # (B, S, C, C)
    return difference.square().mean((2, 3)) / (target.square().mean((1, 2)) + SMALL)


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels (Johnson et al. 2016), (B, 3, H, W) -> (B,)."""
    down, right = images.diff(dim=2), images.diff(dim=3)
    return down.square().mean((1, 2, 3)) + right.square().mean((1, 2, 3))


class PerceptualLoss(nn.Module):
    """Content and style as a frozen network sees them: one layer for the content, several with weights for the style."""

    def __init__(self, features: Vgg19Features, content_layer: str, style_layers: Mapping[str, float]) -> None:
        super().__init__()
        self.features, self.content_layer, self.style_layers = features, content_layer, dict(style_layers)

    @torch.no_grad()
    def content(self, images: Tensor) -> Tensor:
        """What a content loss compares with: (B, 3, H, W) -> (B, C, h, w)."""
        return self.features(images, [self.content_layer])[self.content_layer]

    @torch.no_grad()
    def style(self, painting: Tensor) -> dict[str, Tensor]:
        """What a style loss compares with: (1, 3, H, W) -> layer: (1, C, C)."""
        return {layer: gram_matrix(found) for layer, found in self.features(painting, self.style_layers).items()}

    def forward(self, images: Tensor, content: Tensor, styles: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Content loss (B,) and style loss against every style (B, S) of images (B, 3, H, W)."""
        found = self.features(images, {self.content_layer, *self.style_layers})
        grams = {layer: gram_matrix(found[layer]) for layer in self.style_layers}
        return content_loss(found[self.content_layer], content), style_loss(grams, styles, self.style_layers)
