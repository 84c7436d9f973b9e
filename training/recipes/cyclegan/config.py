"""Every setting of the recipe and its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class NetConfig:
    generator_channels: int = 32  # at full size; twice as many at half, four times at a quarter of the side
    blocks: int = 6  # residual, at a quarter of the side
    discriminator_channels: int = 32  # after the first layer, doubled by each further one up to eight times
    discriminator_layers: int = 3  # that halve the side: 3 judge patches of 70 px
    features: tuple[str, ...] = ()  # layers of VGG19 that discriminators judge instead of pixels, see views.py


@dataclass(frozen=True)
class Config:
    name: str = "horse2zebra"  # of the exported model
    name_a: str = "horse"  # directions are called NAME_A-to-NAME_B and NAME_B-to-NAME_A
    name_b: str = "zebra"
    domain_a: str = ""  # folders of pictures; without them the recipe reads horse2zebra from the data root
    domain_b: str = ""
    synthetic_pictures: int = 0  # > 0: no data set is needed, `prepare` draws this many a domain
    skip_grey: bool = True  # leave out pictures without colour
    seed: int = 1
    start_from: str = ""  # folder of a finished run, from this run's folder, whose networks go on here, wider if net is: see widen.py
    threads: int = 0  # 0: as many as PyTorch takes
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    stored_size: int = 136  # pixels, both sides, at which pictures are kept
    crop_size: int = 128  # of a random crop; also what is evaluated
    small_crop_size: int = 96  # the first epochs see smaller, cheaper crops
    small_epochs: int = 0
    small_shrink: int = 1  # those crops are cut so many times as large and then made smaller: more of the picture, fewer pixels
    epochs: int = 40
    decay_epochs: int = 20  # at the end, in which the rate goes down to nothing
    epoch_steps: int = 500  # an epoch is this many steps, so that a checkpoint is never far
    batch_size: int = 1  # of each domain
    learning_rate: float = 2e-4
    vgg19: str = "vgg19/vgg19_conv1_1_to_conv3_4.safetensors"  # for net.features: under the data root, or anywhere
    augment: bool = False  # discriminators see altered pictures, see augmentation.py
    pool_size: int = 50  # earlier fakes that a discriminator is also shown
    lambda_cycle: float = 10.0
    lambda_cycle_last: float | None = None  # the weight goes from lambda_cycle to this over the run; None: it stays
    lambda_identity: float = 0.5  # of the cycle's weight
    identity_every: int = 2  # steps; the loss counts as many times, for less work
    ema_decay: float = 0.999  # of the averaged generators, which are the ones evaluated and shipped
    peak: float = 0.0  # > 0: of trained generators all is cut off that is more deviations from a channel's mean, see droplets.py
    peaks: tuple[float, ...] = (0.0, 4.0, 5.0, 6.0)  # that `axon-train cyclegan peaks` tries, on training pictures
    sample_pictures: int = 6  # of each domain, in the grid that every epoch leaves
    net: NetConfig = field(default_factory=NetConfig)
