"""What is exported: pixels in, pixels out, all arithmetic in the graph (docs/decisions/0010-image-to-image.md).

Shapes: B images, 3 colours, H x W pixels, C choices.
"""

from __future__ import annotations

from torch import Tensor, nn

from app.contract.manifest import TensorSpec
from training.recipes.style_transfer.model import TransformNet


class ServedTransform(nn.Module):
    """`pixel_values` uint8 (B, 3, H, W), `condition` (B, C) -> `reconstruction` (B, 3, H, W) in [0, 1], for any H, W >= 16."""

    def __init__(self, network: TransformNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: Tensor, condition: Tensor) -> Tensor:
        images = pixel_values.float() / 255
        painted: Tensor = self.network(images, condition)
        return painted.clamp(0, 1)


def tensor_specs(choices: int) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """(inputs, outputs)"""
    picture = (-1, 3, -1, -1)
    return (
        [
            TensorSpec(name="pixel_values", datatype="UINT8", shape=picture),
            TensorSpec(name="condition", datatype="FP32", shape=(-1, choices)),
        ],
        [TensorSpec(name="reconstruction", datatype="FP32", shape=picture)],
    )
