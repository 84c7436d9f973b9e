"""What one pass of the fine-tuning reads: every review, short spans cut from some, sentences of `phrases.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.kit.run import Run
from training.recipes.sentiment.batches import groups, pad
from training.recipes.sentiment.config import SHORTEST_SPAN, Config, FinetuneConfig
from training.recipes.sentiment.data import Split, load_tokenizer
from training.recipes.sentiment.phrases import phrases
from training.recipes.sentiment.tokenizer import UNKNOWN_ID

Batch = tuple[Tensor, Tensor, Tensor]  # input_ids (B, T), lengths (B,), targets (B,): P(positive)
MARKS = ("", ".")  # people leave the full stop out as often as not


@dataclass(frozen=True)
class Phrases:
    """The sentences of `phrases.py` as ids."""

    sequences: list[NDArray[np.int64]]
    targets: NDArray[np.float32]  # P(positive)
    weights: NDArray[np.float64]  # how often each is drawn: every kind alike

    @staticmethod
    def read(run: Run[Config]) -> Phrases:
        tokenizer, sequences, targets, weights = load_tokenizer(run), [], [], []
        for sentences in phrases().values():
            said = [sentence + mark for sentence in sentences for mark in MARKS]
            sequences += [np.asarray(encoding.ids, dtype=np.int64) for encoding in tokenizer.encode_batch(said, add_special_tokens=False)]
            targets += [target for target in sentences.values() for _ in MARKS]
            weights += [1 / len(said)] * len(said)
        return Phrases(sequences, np.array(targets, dtype=np.float32), np.array(weights) / sum(weights))


@dataclass(frozen=True, eq=False)
class Epoch:
    """The texts of one pass and the order in which they come."""

    sequences: list[NDArray[np.int64]]
    targets: NDArray[np.float32]  # P(positive)
    groups: list[NDArray[np.int64]]

    @staticmethod
    def draw(reviews: Split, sentences: Phrases, config: FinetuneConfig, seed: tuple[int, int]) -> Epoch:
        draw = np.random.default_rng((*seed, 1))
        sequences = [reviews[index] for index in range(len(reviews))]
        cut = draw.choice(len(reviews), round(config.spans_per_review * len(reviews)), replace=True)
        spans = [_span(sequences[index], draw, config.longest_span) for index in cut]
        said = draw.choice(len(sentences.sequences), config.phrases, p=sentences.weights)
        targets = [reviews.labels.astype(np.float32), reviews.labels[cut].astype(np.float32), sentences.targets[said]]
        sequences = [*sequences, *spans, *(sentences.sequences[index] for index in said)]
        lengths = np.array([len(sequence) for sequence in sequences])
        return Epoch(sequences, np.concatenate(targets), groups(lengths, config.batch_size, seed))

    def batch(self, rows: NDArray[np.int64], word_dropout: float) -> Batch:
        """Some texts, padded, with some of their words gone; draws from torch's generator."""
        input_ids, lengths = pad([self.sequences[index] for index in rows])
        return drop_words(input_ids, lengths, word_dropout), lengths, torch.from_numpy(self.targets[rows])


def drop_words(input_ids: Tensor, lengths: Tensor, probability: float) -> Tensor:
    """Some words become `<unk>`, but none of a text under 16 words, where one word can be the verdict."""
    dropped = (torch.rand(input_ids.shape) < probability) & (lengths >= 16)[:, None]  # (B, T)
    return input_ids.masked_fill(dropped & (input_ids != 0), UNKNOWN_ID)


def _span(sequence: NDArray[np.int64], draw: np.random.Generator, longest: int) -> NDArray[np.int64]:
    """Half of the spans end where the review ends: there the verdict stands."""
    size = min(int(draw.integers(SHORTEST_SPAN, longest + 1)), len(sequence))
    start = len(sequence) - size if draw.random() < 0.5 else int(draw.integers(0, len(sequence) - size + 1))
    return sequence[start : start + size]
