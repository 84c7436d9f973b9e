"""Reviews of similar length go together, so that little of a batch is padding; what comes when depends on the seed alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from training.recipes.sentiment.tokenizer import PAD_ID


def groups(lengths: np.ndarray, size: int, seed: Sequence[int]) -> list[np.ndarray]:
    """Indices in groups of `size` reviews of similar length, in random order; a rest smaller than `size` is left out of this pass."""
    draw = np.random.default_rng(seed)
    shuffled = draw.permutation(len(lengths))
    jitter = draw.uniform(0.9, 1.1, len(lengths))  # so that a pass's groups differ from the last pass's
    ordered = shuffled[np.argsort((lengths * jitter)[shuffled], kind="stable")]
    dropped = len(ordered) % size
    left_out = draw.choice(len(ordered), dropped, replace=False)
    ordered = np.delete(ordered, left_out)
    batches = ordered.reshape(-1, size)
    return list(batches[draw.permutation(len(batches))])


def pad(sequences: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Ids padded on the right, (B, T), and lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    input_ids = torch.full((len(sequences), int(lengths.max())), PAD_ID)
    for row, sequence in zip(input_ids, sequences, strict=True):
        row[: len(sequence)] = torch.from_numpy(sequence)
    return input_ids, lengths


def chunks(input_ids: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(inputs, targets) of `size` steps each, the last one shorter: the target is the word that follows."""
    for start in range(0, input_ids.shape[1] - 1, size):
        stop = min(start + size, input_ids.shape[1] - 1)
        yield input_ids[:, start:stop], input_ids[:, start + 1 : stop + 1]
