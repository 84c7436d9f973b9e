"""Every setting of the recipe and its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from training.kit.config import Count, Positive, Rate, Share, Weight

GOES_ON = (  # settings in which a run may go on otherwise than it began, or be evaluated and exported
    "name",
    "threads",
    "precision",
    "epochs",  # to more of them: presets/shakespeare.toml
    "validation_streams",
    "window",
    "samples",
    "sample_length",
    "compare_variants",
)


@dataclass(frozen=True)
class NetConfig:
    embedding: Positive = 128
    hidden: Positive = 512
    layers: Positive = 2
    input_dropout: Share = 0.0  # of the embedded characters
    hidden_dropout: Share = 0.25  # between the layers
    output_dropout: Share = 0.25  # before the characters' logits
    weight_drop: Share = 0.0  # of the hidden-to-hidden weights (Merity et al. 2017, arXiv:1708.02182)


@dataclass(frozen=True)
class Config:
    name: str = "anna"  # of the exported model
    corpus: Literal["anna", "shakespeare", "synthetic"] = "anna"
    synthetic_characters: Positive = 60_000  # length of the synthetic corpus
    seed: Count = 1
    threads: Count = 1  # of a process; 0: as many as the machine has
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    epochs: Positive = 15
    batch_size: Positive = 64  # places of the text that are read side by side, of all processes together
    chunk: Positive = 128  # characters of truncated back-propagation; the state is carried from one chunk to the next
    reset_probability: Share = 0.02  # share of places whose state is forgotten before a chunk, as a prompt starts without one
    learning_rate: Rate = 2e-3
    warmup_steps: Count = 100
    cooldown_share: Share = 0.4  # of all steps, at the end, in which the rate goes down to nothing
    weight_decay: Weight = 0.05
    max_gradient_norm: Rate = 1.0
    ema_decay: Share = 0.995  # of the averaged weights, which are the ones evaluated and shipped
    validation_streams: Positive = 16  # parts of the last 10 % that an epoch's validation reads side by side; `evaluate` reads it in one
    window: Positive = 256  # characters of a block in the second protocol of `evaluate`, as in nanoGPT
    samples: Positive = 8  # texts that `evaluate` writes at each temperature
    sample_length: Positive = 1_000  # characters of each
    compare_variants: bool = True  # `evaluate` also measures other files of the same weights, see variants.py
    net: NetConfig = field(default_factory=NetConfig)
