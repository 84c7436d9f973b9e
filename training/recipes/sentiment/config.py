"""Every default of the sentiment recipe. A preset changes them; an override changes one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class DataConfig:
    synthetic_reviews: int = 0  # > 0: make this many reviews instead of reading IMDB (the tiny preset)
    vocabulary_size: int = 24_000
    max_tokens: int = 512  # a longer review keeps its first head_tokens and its last max_tokens - head_tokens
    head_tokens: int = 192
    validation_share: float = 0.08  # of the labelled training reviews, in blocks
    film_block: int = 100  # consecutive review numbers that stay on one side of that split: a film's reviews stand side by side


@dataclass(frozen=True)
class WideConfig:
    """The linear part: hashed n-grams, scaled as in NBSVM (Wang & Manning 2012)."""

    max_order: int = 3
    log2_buckets: int = 21  # of each order's table
    min_reviews: int = 3  # that hold an n-gram, or it weighs nothing
    inverse_regularisation: float = 0.1  # C of the logistic regression


@dataclass(frozen=True)
class NetConfig:
    embedding: int = 256
    hidden: int = 320


@dataclass(frozen=True)
class PretrainConfig:
    """The language model on labelled and unlabelled reviews (Dai & Le 2015; Howard & Ruder 2018)."""

    epochs: float = 1.0  # passes over the reviews
    batch_size: int = 64
    chunk: int = 64  # steps of truncated back-propagation
    learning_rate: float = 3e-3
    frequent: int = 512  # words that every step scores exactly
    sampled: int = 512  # rarer words that a step samples as negatives
    dropout: float = 0.1
    teacher_weight: float = 0.5  # weight of the teacher's sentiment beside the language model's loss
    max_gradient_norm: float = 1.0
    save_every: int = 50  # groups of reviews between two checkpoints


@dataclass(frozen=True)
class FinetuneConfig:
    epochs: float = 2.0
    adversarial_epochs: float = 0.0  # at the end; each takes twice the time
    adversarial_norm: float = 5.0  # length of the perturbation of a review's embeddings, in units of their root mean square
    batch_size: int = 32
    learning_rate: float = 7e-4
    embedding_rate: float = 0.5  # of that for the embeddings
    max_gradient_norm: float = 1.0
    word_dropout: float = 0.1  # share of a review's words that become <unk>
    embedding_dropout: float = 0.2
    head_dropout: float = 0.4
    spans_per_review: float = 0.3  # short spans cut from the reviews, per review and epoch
    longest_span: int = 48  # tokens
    phrases: int = 4_000  # sentences of phrases.py in an epoch
    save_every: int = 100  # batches between two checkpoints


@dataclass(frozen=True)
class ShortTextsConfig:
    phrases: int = 16_000  # sentences of phrases.py
    spans_per_review: float = 0.2
    short_per_review: int = 4  # batches of short texts to one of reviews
    learning_rate: float = 4e-4


@dataclass(frozen=True)
class Config:
    seed: int = 1
    threads: int = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    data: DataConfig = field(default_factory=DataConfig)
    wide: WideConfig = field(default_factory=WideConfig)
    net: NetConfig = field(default_factory=NetConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    short_texts: ShortTextsConfig = field(default_factory=ShortTextsConfig)
