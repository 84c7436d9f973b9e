"""Every setting of the recipe and its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from training.kit.config import Count, Positive, Rate, Weight
from training.nets.image_descent import Optimizer


@dataclass(frozen=True)
class Config:
    content: str = ""  # the file of the photograph
    style: str = ""  # the file of the painting
    size_px: Annotated[int, Field(ge=16)] = 384  # the longer side of the result; a smaller photograph is not enlarged
    painting_px: Positive = 256  # the shorter side of the painting: it sets how broad the strokes are
    steps: Positive = 300  # each is one evaluation of the loss
    picture_every: Positive = 50  # steps between two intermediate pictures, which are also the points from which a killed run goes on
    optimizer: Optimizer = "lbfgs"
    learning_rate: Rate = 0.02  # Adam's, in shares of a pixel's range
    content_weight: Weight = 1.0  # alpha
    style_weight: Weight = 5.0  # beta
    variation_weight: Weight = 10.0
    vgg19: str = "vgg19/vgg19_conv1_1_to_conv3_4.safetensors"  # under the data root, or anywhere
    content_layer: str = "conv3_4"  # the paper's is conv4_2, see presets/paper.toml
    style_layers: dict[str, Weight] = field(default_factory=lambda: {"conv1_1": 1.0, "conv2_1": 1.0, "conv3_1": 1.0, "conv3_4": 3.0})
    threads: Count = 0  # of the CPU; 0 leaves it to PyTorch
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    synthetic: bool = False  # the tiny preset draws its own two pictures, and has a random network in VGG19's place
