"""The classical floor: an interpolated n-gram model (Witten & Bell 1991), counted on the training text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


def unigram_nats(train: Ids, text: Ids, vocabulary: int) -> NDArray[np.float64]:
    """Nats of each character when nothing before it is looked at; one is added to every count."""
    counts = np.bincount(train, minlength=vocabulary) + 1.0
    nats: NDArray[np.float64] = -np.log(counts / counts.sum())[text]
    return nats


def ngram_nats(train: Ids, text: Ids, vocabulary: int, order: int) -> NDArray[np.float64]:
    """Nats of each character of `text` from the `order` - 1 before it, (N,); the first ones have fewer.

    Each order's estimate is mixed with the next lower one's, which weighs as much as the context has had different successors.
    """
    probability = np.exp(-unigram_nats(train, text, vocabulary))
    for length in range(1, order):
        contexts = keys(train[:-1], length, vocabulary)  # of the characters from `length` on
        pairs = contexts * vocabulary + train[length:]
        seen, counts = np.unique(pairs, return_counts=True)
        heads, totals = np.unique(contexts, return_counts=True)
        kinds = np.bincount(np.searchsorted(heads, seen // vocabulary), minlength=len(heads))  # different successors
        asked = keys(text[:-1], length, vocabulary)
        count = looked_up(seen, counts, asked * vocabulary + text[length:])
        total, kind = looked_up(heads, totals, asked), looked_up(heads, kinds, asked)
        known = total > 0
        lower = probability[length:]
        lower[known] = (count[known] + kind[known] * lower[known]) / (total[known] + kind[known])
    nats: NDArray[np.float64] = -np.log(probability)
    return nats


def keys(ids: Ids, length: int, vocabulary: int) -> Ids:
    """Each run of `length` ids as one number, (N - length + 1,)."""
    windows = np.lib.stride_tricks.sliding_window_view(ids, length)
    key: Ids = windows @ (vocabulary ** np.arange(length, dtype=np.int64))
    return key


def looked_up(keys: Ids, values: NDArray[np.int64], asked: Ids) -> NDArray[np.float64]:
    """The value of each asked key; 0 where it is not among the sorted `keys`."""
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[place] == asked, values[place], 0).astype(float)
