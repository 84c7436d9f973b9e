"""One step: photographs are painted in several styles each, and the network learns from what VGG19 says of the paintings.

Nothing here waits for a result, so that a GPU can record a step.
Shapes: P photographs, K styles of each, S paintings, 3 colours, H x W pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from training.kit.cuda_graph import follow
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.losses import PaintingLoss


class Step:
    """Called with `images` (P, 3, H, W) in [0, 1] and a `condition` (P, K + 1, S + 1), the last of each neutral. Gives all losses."""

    def __init__(self, model: Any, average: nn.Module, optimizer: Any, loss: PaintingLoss, config: Config, fabric: Fabric) -> None:
        """`model` and `optimizer` as Fabric set them up; `average` follows the model's weights."""
        self.model, self.average, self.optimizer = model, average, optimizer
        self.loss, self.config, self.fabric = loss, config, fabric

    def __call__(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        images, condition, loss = inputs["images"], inputs["condition"], self.loss
        with self.fabric.autocast():
            content = loss.perceptual.content(images).repeat_interleave(self.config.styles, 0)  # (P K, C, h, w)
        photographed = images.repeat_interleave(self.config.styles + 1, 0)  # (P (K + 1), 3, H, W)
        painted = self.model(photographed, condition.flatten(0, 1))
        styled = painted.unflatten(0, condition.shape[:2])[:, :-1].flatten(0, 1)  # (P K, 3, H, W)
        with self.fabric.autocast():
            kept, style = loss(styled, content, condition[:, :-1].flatten(0, 1))  # (P K,) both
        anchors = loss.anchors(painted, photographed, condition.flatten(0, 1))  # (P (K + 1),)
        losses = {"content": kept.mean(), "style": style.mean(), "anchors": anchors.mean()}
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(torch.stack(list(losses.values())).sum())
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.max_gradient_norm, error_if_nonfinite=False)
        self.optimizer.step()
        follow(self.average, self.model, self.config.ema_decay)
        return {name: each.detach() for name, each in losses.items()}
