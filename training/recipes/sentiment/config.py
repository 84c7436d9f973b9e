"""Every default of the sentiment recipe. A preset changes them; an override changes one of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from training.kit.config import Count, Positive, Rate, Share, Weight

Dropout = Annotated[float, Field(ge=0, lt=1)]  # of all, nothing is left to scale up
SHORTEST_SPAN = 4  # tokens
GOES_ON = {  # of each stage: settings, or whole sections, that have no part in what it wrote, so that a run may go on otherwise
    "linear part": ("threads", "precision", "net", "pretrain", "finetune", "short_texts"),
    "language model": ("threads", "precision", "finetune", "short_texts"),
    "classifier": ("threads", "precision", "finetune.epochs", "short_texts"),  # it goes on to more epochs
    "short texts": ("threads", "precision", "finetune.epochs"),
}


@dataclass(frozen=True)
class DataConfig:
    synthetic_reviews: Count = 0  # > 0: make this many reviews instead of reading IMDB (the tiny preset)
    vocabulary_size: Positive = 24_000
    max_tokens: Positive = 512  # a longer review keeps its first head_tokens and its last max_tokens - head_tokens
    head_tokens: Count = 192
    validation_share: Share = 0.08  # of the labelled training reviews, in blocks
    film_block: Positive = 100  # consecutive review numbers that stay on one side of that split: a film's reviews stand side by side


@dataclass(frozen=True)
class WideConfig:
    """The linear part: hashed n-grams, scaled as in NBSVM (Wang & Manning 2012)."""

    max_order: Literal[2, 3] = 3  # words of the longest n-gram
    log2_buckets: Positive = 21  # of each order's table
    min_reviews: Count = 3  # that hold an n-gram, or it weighs nothing
    inverse_regularisation: Rate = 0.1  # C of the logistic regression


@dataclass(frozen=True)
class NetConfig:
    embedding: Positive = 256
    hidden: Positive = 320


@dataclass(frozen=True)
class PretrainConfig:
    """The language model on labelled and unlabelled reviews (Dai & Le 2015; Howard & Ruder 2018)."""

    epochs: Weight = 1.0  # passes over the reviews; 0: none, the classifier starts from nothing
    batch_size: Positive = 64
    chunk: Positive = 64  # steps of truncated back-propagation
    learning_rate: Rate = 3e-3
    frequent: Positive = 512  # words that every step scores exactly
    sampled: Positive = 512  # rarer words that a step samples as negatives
    dropout: Dropout = 0.1
    teacher_weight: Weight = 0.5  # weight of the teacher's sentiment beside the language model's loss
    max_gradient_norm: Rate = 1.0
    save_every: Positive = 50  # groups of reviews between two checkpoints


@dataclass(frozen=True)
class FinetuneConfig:
    epochs: Rate = 2.0
    adversarial_epochs: Weight = 0.0  # at the end; each takes twice the time
    adversarial_norm: Weight = 5.0  # length of the perturbation of a review's embeddings, in units of their root mean square
    batch_size: Positive = 32
    learning_rate: Rate = 7e-4
    embedding_rate: Weight = 0.5  # of that for the embeddings
    max_gradient_norm: Rate = 1.0
    word_dropout: Share = 0.1  # share of a review's words that become <unk>
    embedding_dropout: Dropout = 0.2
    head_dropout: Dropout = 0.4
    spans_per_review: Weight = 0.3  # short spans cut from the reviews, per review and epoch
    longest_span: Annotated[int, Field(ge=SHORTEST_SPAN)] = 48  # tokens
    phrases: Count = 4_000  # sentences of phrases.py in an epoch
    save_every: Positive = 100  # batches between two checkpoints


@dataclass(frozen=True)
class ShortTextsConfig:
    phrases: Count = 16_000  # sentences of phrases.py
    spans_per_review: Weight = 0.2
    short_per_review: Positive = 4  # batches of short texts to one of reviews
    learning_rate: Rate = 4e-4


@dataclass(frozen=True)
class Config:
    seed: Count = 1
    threads: Count = 1
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    data: DataConfig = field(default_factory=DataConfig)
    wide: WideConfig = field(default_factory=WideConfig)
    net: NetConfig = field(default_factory=NetConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    short_texts: ShortTextsConfig = field(default_factory=ShortTextsConfig)
