"""Every setting of the recipe and its default."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

from app.contract.manifest import NAME_PATTERN
from training.kit.config import ConfigError, Count, Positive, Rate, Share, Weight

DOMAIN_PATTERN = "^[a-z0-9][a-z0-9-]{0,29}$"  # A-to-B is a choice's name, of 64 characters at most (app/contract/conditions.py)


@dataclass(frozen=True)
class NetConfig:
    generator_channels: Positive = 32  # at full size; twice as many at half, four times at a quarter of the side
    blocks: Count = 6  # residual, at a quarter of the side
    discriminator_channels: Positive = 32  # after the first layer, doubled by each further one up to eight times
    discriminator_layers: Positive = 3  # that halve the side: 3 judge patches of 70 px
    features: tuple[str, ...] = ()  # layers of VGG19 that discriminators judge instead of pixels, see views.py


@dataclass(frozen=True)
class Config:
    name: str = "horse2zebra"  # of the exported model
    name_a: str = "horse"  # directions are called NAME_A-to-NAME_B and NAME_B-to-NAME_A
    name_b: str = "zebra"
    domain_a: str = ""  # folders of pictures; without them the recipe reads horse2zebra from the data root
    domain_b: str = ""
    synthetic_pictures: Count = 0  # > 0: no data set is needed, `prepare` draws this many a domain
    skip_grey: bool = True  # leave out pictures without colour
    seed: Count = 1
    start_from: str = ""  # folder of a finished run, from this run's folder, whose networks go on here, wider if net is: see widen.py
    threads: Count = 0  # 0: as many as PyTorch takes
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    stored_size: Positive = 136  # pixels, both sides, at which pictures are kept
    crop_size: Positive = 128  # of a random crop; also what is evaluated
    small_crop_size: Positive = 96  # the first epochs see smaller, cheaper crops
    small_epochs: Count = 0
    small_shrink: Positive = 1  # those crops are cut so many times as large and then made smaller: more of the picture, fewer pixels
    epochs: Positive = 40
    decay_epochs: Count = 20  # at the end, in which the rate goes down to nothing
    epoch_steps: Positive = 500  # an epoch is this many steps, so that a checkpoint is never far
    batch_size: Positive = 1  # of each domain
    learning_rate: Rate = 2e-4
    vgg19: str = "vgg19/vgg19_conv1_1_to_conv3_4.safetensors"  # for net.features: under the data root, or anywhere
    augment: bool = False  # discriminators see altered pictures, see augmentation.py
    pool_size: Count = 50  # earlier fakes that a discriminator is also shown
    lambda_cycle: Weight = 10.0
    lambda_cycle_last: Weight | None = None  # the weight goes from lambda_cycle to this over the run; None: it stays
    lambda_identity: Weight = 0.5  # of the cycle's weight
    identity_every: Positive = 2  # steps; the loss counts as many times, for less work
    ema_decay: Share = 0.999  # of the averaged generators, which are the ones evaluated and shipped
    peak: Weight = 0.0  # > 0: of trained generators all is cut off that is more deviations from a channel's mean, see droplets.py
    peaks: tuple[Weight, ...] = (0.0, 4.0, 5.0, 6.0)  # that `axon-train cyclegan peaks` tries, on training pictures
    sample_pictures: Positive = 6  # of each domain, in the grid that every epoch leaves
    net: NetConfig = field(default_factory=NetConfig)

    def __post_init__(self) -> None:
        """What cannot be exported, or cannot be cut, is found before hours of training. Raises ConfigError."""
        if not re.fullmatch(NAME_PATTERN, self.name):
            raise ConfigError(f"name={self.name!r} names no model: lower-case letters, digits, '.', '_' and '-' do, such as apple2orange")
        for key in ("name_a", "name_b"):
            if not re.fullmatch(DOMAIN_PATTERN, name := getattr(self, key)):
                raise ConfigError(f"{key}={name!r} names no domain: up to 30 lower-case letters, digits and '-' do, such as red-apple")
        if self.name_a == self.name_b:
            raise ConfigError(f"name_a and name_b are both {self.name_a!r}: directions are called by them, so give two names")
        if self.crop_size > self.stored_size:
            raise ConfigError(f"crop_size={self.crop_size} is more than the {self.stored_size} px of a kept picture: raise stored_size too")
        if self.small_epochs and self.small_crop_size * self.small_shrink > self.stored_size:
            raise ConfigError(f"crops of {self.small_crop_size} px, {self.small_shrink} times as large, need pictures stored so large")
        if 0 < self.pool_size < self.batch_size:
            raise ConfigError(f"pool_size is {self.pool_size}: a pool holds at least a batch, {self.batch_size}, or nothing")
