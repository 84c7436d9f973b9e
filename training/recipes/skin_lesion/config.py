"""Every setting of the recipe and its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from training.kit.config import Count, Positive, Rate, Share, Weight

HeldOut = Annotated[float, Field(ge=0, lt=0.5)]  # of two of them something is left
Pairs = Annotated[int, Field(gt=0, multiple_of=2)]  # mixup mixes neighbours

GOES_ON = (  # settings in which a run may go on otherwise than it began, or be evaluated
    "epochs",
    "small_epochs",
    "precision",
    "fast_gradients",
    "soup_sizes",
    "prior_shifts",
    "compare_views",
)


@dataclass(frozen=True)
class Augmentation:
    """What a training image goes through, after one of the eight turns and flips of a square."""

    affine_probability: Share = 0.7  # share of images that are also turned, zoomed and shifted a little
    rotation_degrees: Weight = 180.0
    zoom: Share = 0.1  # 0.1: between 90 % and 110 %; more and training and test see different scales
    shift: Share = 0.06  # of the side
    brightness: Share = 0.15
    contrast: Share = 0.15
    saturation: Share = 0.2
    tint: Share = 0.06  # gain of each colour alone
    mixup_probability: Share = 0.4  # share of batches
    mixup_alpha: Rate = 0.2  # Zhang et al. 2018, arXiv:1710.09412


@dataclass(frozen=True)
class Config:
    seed: int = 1
    variant: Literal["lite0", "lite2"] = "lite0"  # of EfficientNet-Lite
    validation_share: HeldOut = 0.15  # of the lesions, to choose epochs, temperature and thresholds on
    test_share: HeldOut = 0.15  # only measured on
    image_size: Positive = 160  # pixels, both sides, what is served
    warmup_image_size: Positive = 128  # the first epochs see smaller, cheaper images
    small_epochs: Count = 0
    epochs: Count = 20
    batch_size: Pairs = 32  # of all processes together
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    frozen_blocks: Count = 0  # of 16 (lite2: 21), see SkinLesionNet
    fixed_statistics: bool = False  # batch normalisation keeps its ImageNet statistics, so that a batch may be split over CPU processes
    dropout: Share = 0.3
    drop_path: Share = 0.1
    learning_rate: Weight = 6e-4
    head_learning_rate: Weight = 3e-3
    weight_decay: Weight = 0.05
    warmup_share: HeldOut = 0.1  # of all steps
    label_smoothing: Share = 0.05
    class_power: Share = 0.5  # a class of n images is drawn in proportion to n ** class_power
    ema_decay: Share = 0.997  # of the averaged weights, which are the ones evaluated and shipped
    fast_gradients: bool = False  # quicker on a CPU, see depthwise.py
    soup_sizes: tuple[Positive, ...] = (1, 3, 6, 11)  # `evaluate` tries the average of this many best epochs, see selection.py
    # Folders of finished runs, from this run's folder, whose answers it learns; it starts as the first if that is of its variant.
    teachers: tuple[str, ...] = ()
    teaching_weight: Share = 0.7  # of the teachers' answer in a target, beside the label
    # Folders of finished runs, from this run's folder: nothing is trained here, the mean of their networks is evaluated and exported.
    members: tuple[str, ...] = ()
    prior_shifts: tuple[Weight, ...] = (0.0, 0.1, 0.2, 0.3, 0.4)  # strengths that `evaluate` tries, see selection.py
    compare_views: bool = True  # `evaluate` also measures the answer averaged over eight views
    synthetic_lesions: Count = 0  # > 0: no data set is needed, `prepare` draws this many lesions
    augmentation: Augmentation = field(default_factory=Augmentation)
