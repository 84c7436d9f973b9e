"""Every setting of the recipe and its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from training.kit.config import ConfigError, Count, Positive, Rate, Share, Weight
from training.nets.image_descent import Optimizer


@dataclass(frozen=True)
class NetConfig:
    width: Positive = 16  # channels at full size, twice and four times as many below; Johnson et al. have 32
    blocks: Count = 5
    share: Share = 0.5  # of the photograph in the answer, where a style starts


@dataclass(frozen=True)
class LossConfig:
    """What is minimised: content + style + smoothness, each relative to its target, see nets/perceptual.py."""

    vgg19: str = "vgg19/vgg19_conv1_1_to_conv3_4.safetensors"  # under the data root, or anywhere
    content_layer: str = "conv3_4"  # the paper's is conv4_2: name it where vgg19 is a full checkpoint
    style_layers: dict[str, Weight] = field(default_factory=lambda: {"conv1_1": 1.0, "conv2_1": 1.0, "conv3_1": 1.0, "conv3_4": 1.0})
    style_weight: Weight = 2.0  # beta, where alpha, the content's weight, is 1
    painting_weights: dict[str, Weight] = field(default_factory=dict)  # times style_weight; a painting that is not named has 1
    variation_weight: Weight = 10.0
    reconstruction_weight: Weight = 100.0  # of the squared error of the neutral row, and of the neutral part of a mixture
    range_weight: Weight = 10.0  # of the squared distance of a pixel from [0, 1]


@dataclass(frozen=True)
class Config:
    seed: Count = 1
    threads: Count = 0  # of the CPU; 0 leaves it to PyTorch
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    paintings: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "starry_night",
        "great_wave",
        "the_scream",
        "shipwreck_of_the_minotaur",
        "udnie",
        "woman_with_a_hat",
    )  # files of DATA/paintings without their suffix, in the order of the condition's columns
    painting_px: Positive = 224  # the shorter side, at which a style is measured: it sets how broad the strokes are
    crop_px: Positive = 192  # side of the squares that training sees
    small_crop_px: Positive = 128  # the first epochs see smaller, cheaper ones
    small_epochs: Count = 0
    crop_from_px: tuple[Positive, Positive] = (160, 256)  # sides of the squares that are cut from a photograph and resized to a crop
    epochs: Positive = 10
    steps: Positive = 100  # of an epoch
    photographs: Positive = 2  # of a step, of all processes together
    styles: Positive = 3  # that each of them is painted in
    mixture_probability: Share = 0.15  # share of the rows that mix two styles, the neutral one among them
    learning_rate: Rate = 2e-3
    warmup_steps: Count = 50
    cooldown_share: Share = 0.4  # of all steps, at the end, in which the rate goes down to nothing
    ema_decay: Share = 0.99  # of the averaged weights, which are the ones evaluated and shipped
    max_gradient_norm: Rate = 1.0
    net: NetConfig = field(default_factory=NetConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    evaluated_photographs: Positive = 10  # of the test split, each in every style
    evaluated_px: Positive = 128  # centre squares
    yardstick: Optimizer = "lbfgs"  # Gatys' own choice
    yardstick_learning_rate: Rate = 0.02  # Adam's
    compare_adam: bool = False  # `evaluate` also measures the yardstick with Adam
    gatys_steps: Positive = 100  # of the yardstick
    sheet_steps: Count = 300  # of its pictures in the contact sheet
    timed_px: tuple[Positive, ...] = (512, 1024)  # sides at which `evaluate` measures the time
    painting: str = ""  # add-style: the file of a new painting
    added_steps: Positive = 200  # add-style: steps, of `photographs` images each
    added_learning_rate: Rate = 1e-2
    synthetic: bool = False  # the tiny preset draws its own pictures, and has a random network in VGG19's place

    def __post_init__(self) -> None:
        smallest, largest = self.crop_from_px
        if smallest > largest:
            raise ConfigError(f"crop_from_px is [{smallest}, {largest}]: the smaller side comes first")
