"""Every setting of the recipe and its default."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class NetConfig:
    embedding: int = 128
    hidden: int = 512
    layers: int = 2
    input_dropout: float = 0.0  # of the embedded characters
    hidden_dropout: float = 0.25  # between the layers
    output_dropout: float = 0.25  # before the characters' logits
    weight_drop: float = 0.0  # of the hidden-to-hidden weights (Merity et al. 2017, arXiv:1708.02182)


@dataclass(frozen=True)
class Config:
    name: str = "anna"  # of the exported model
    corpus: Literal["anna", "shakespeare", "synthetic"] = "anna"
    synthetic_characters: int = 60_000  # length of the synthetic corpus
    seed: int = 1
    threads: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    epochs: int = 15
    batch_size: int = 64  # places of the text that are read side by side, of all processes together
    chunk: int = 128  # characters of truncated back-propagation; the state is carried from one chunk to the next
    reset_probability: float = 0.02  # share of places whose state is forgotten before a chunk, as a prompt starts without one
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    cooldown_share: float = 0.4  # of all steps, at the end, in which the rate goes down to nothing
    weight_decay: float = 0.05
    max_gradient_norm: float = 1.0
    ema_decay: float = 0.995  # of the averaged weights, which are the ones evaluated and shipped
    validation_streams: int = 16  # parts of the last 10 % that an epoch's validation reads side by side; `evaluate` reads it in one
    window: int = 256  # characters of a block in the second protocol of `evaluate`, as in nanoGPT
    samples: int = 8  # texts that `evaluate` writes at each temperature
    sample_length: int = 1_000  # characters of each
    compare_variants: bool = True  # `evaluate` also measures other files of the same weights, see variants.py
    net: NetConfig = field(default_factory=NetConfig)
