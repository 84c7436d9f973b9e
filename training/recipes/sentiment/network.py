"""What is exported: the deep and the wide part in one graph (Wide & Deep, Cheng et al. 2016).

Letters: B reviews, T tokens, E embedding, H hidden, V vocabulary, S buckets of an order's table.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.recipes.sentiment import wide
from training.recipes.sentiment.model import Classifier

SHORT_TOKENS = 30


class Wide(nn.Module):
    """Logit of a linear model on which words and n-grams a review holds; how often it holds them does not matter."""

    def __init__(self, weights: np.ndarray, vocabulary_size: int, log2_buckets: int) -> None:
        super().__init__()
        self.log2_buckets = log2_buckets
        self.orders = range(2, 2 + ((len(weights) - vocabulary_size) >> log2_buckets))
        quantized, self.step = wide.quantize(weights[vocabulary_size:])
        self.words: Tensor
        self.tables: Tensor
        self.register_buffer("words", torch.from_numpy(weights[:vocabulary_size].copy()))  # (V,)
        self.register_buffer("tables", torch.from_numpy(quantized))  # (orders * S,) int8

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        total = (self.words[input_ids] * first_occurrences(input_ids, lengths)).sum(dim=1)  # (B, T) -> (B,)
        for order in self.orders:
            found = self.buckets(input_ids, order)  # (B, T)
            new = first_occurrences(found, lengths - (order - 1))
            held = self.tables[found + ((order - 2) << self.log2_buckets)].float() * self.step  # (B, T)
            total = total + (held * new).sum(dim=1)
        return total

    def buckets(self, input_ids: Tensor, order: int) -> Tensor:
        """As `wide.buckets`, for a padded batch: (B, T), of which the last order - 1 places of a review mean nothing."""
        tokens = input_ids.shape[1]
        padded = F.pad(input_ids, (0, order - 1))  # (B, T + order - 1)
        total = torch.full_like(input_ids, order)
        for position in range(order):
            total = total + padded[:, position : position + tokens] * wide.FACTORS[position]
        return (total % wide.PRIME) % (1 << self.log2_buckets)


class SentimentNet(nn.Module):
    """Ids to the logits of (negative, positive), calibrated: the weights of the parts are fitted on validation reviews.

    They hold for a long text. The shorter a text, the more the deep part speaks alone: it was taught short texts, and
    the linear part's bias makes up for a drift that only hundreds of words add up to.
    """

    def __init__(self, deep: Classifier, linear: Wide, deep_weight: float, wide_weight: float, bias: float) -> None:
        super().__init__()
        self.deep = deep
        self.wide = linear
        self.deep_weight, self.wide_weight, self.bias = deep_weight, wide_weight, bias
        self.embedding: Tensor
        self.steps: Tensor
        embedding, steps = quantize_rows(deep.reader.embedding.weight.detach())  # a third of the file for 0.4 % of a word
        self.register_buffer("embedding", embedding)  # (V, E) int8
        self.register_buffer("steps", steps)  # (V, 1)

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        embedded = self.embedding[input_ids].float() * self.steps[input_ids]  # (B, T) -> (B, T, E)
        deep = self.deep.classify(embedded, lengths)  # (B, T, E) -> (B,)
        share = length_share(lengths)  # (B,)
        mixed = (self.deep_weight - 1) * deep + self.wide_weight * self.wide(input_ids, lengths) + self.bias  # (B,)
        logit = deep + share * mixed
        return torch.stack([-logit / 2, logit / 2], dim=1)  # (B,) -> (B, 2)


def quantize_rows(table: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as int8 with a step of its own: (V, E) -> (V, E) int8 and (V, 1)."""
    steps = (table.abs().amax(dim=1, keepdim=True) / 127).clamp(min=1e-12)
    return (table / steps).round().to(torch.int8), steps


def length_share(lengths: Tensor) -> Tensor:
    """How much a text of that many tokens is like a review, from 0 to 1: one half at SHORT_TOKENS."""
    return lengths / (lengths + SHORT_TOKENS)


def first_occurrences(values: Tensor, lengths: Tensor) -> Tensor:
    """1.0 where a value stands for the first time among a row's first `lengths` places, 0.0 elsewhere: (B, T), (B,) -> (B, T)."""
    position = torch.arange(values.shape[1], device=values.device)  # (T,)
    same = values[:, :, None] == values[:, None, :]  # (B, T, T)
    earlier = position[:, None] > position[None, :]  # (T, T)
    repeated = (same & earlier).any(dim=2)  # (B, T)
    return ((position < lengths[:, None]) & ~repeated).float()
