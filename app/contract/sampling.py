"""Logits to the next token: one implementation for the recipes' samples and for the server.

Letters: B sequences that are sampled together, V tokens of the vocabulary.

A sequence's tokens depend on its own logits, options and seed alone. Whatever an option does to one row leaves the
bits of every other row as they are, so a text is the same alone and in company.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

COLDEST = 1e-6  # a temperature below is greedy, and a penalty is at least this: divisions by less leave no number
DRAWS = 256  # uniform numbers that a row keeps in stock
BELOW_ONE = 1 - 2.0**-52  # a draw times the total weight then stays below the total, whatever is rounded


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How the next token of one sequence is chosen. The defaults draw from the model's own distribution."""

    temperature: float = 1.0  # 0 takes the most likely token
    top_k: int = 0  # only the k most likely tokens; 0: all
    top_p: float = 1.0  # only the fewest tokens that together have this probability (Holtzman et al. 2020)
    min_p: float = 0.0  # only tokens with this share of the most likely one's probability (Nguyen et al. 2024)
    repetition_penalty: float = 1.0  # of tokens in prompt or text: positive logits / it, negative * it (Keskar et al. 2019)
    presence_penalty: float = 0.0  # taken from the logit of a token that was generated before
    frequency_penalty: float = 0.0  # the same, times how often it was
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # added to the logits of these tokens
    seed: int | None = None  # the same seed, the same text; None: a new one each time
    choice: int = 0  # of several texts from one seed, which

    @property
    def is_greedy(self) -> bool:
        return self.temperature < COLDEST

    @property
    def is_penalised(self) -> bool:
        neutral = (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) == (1, 0, 0)
        return bool(self.logit_bias) or not neutral

    @property
    def is_filtered(self) -> bool:
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0

    def generator(self) -> np.random.Generator:
        return np.random.default_rng(None if self.seed is None else (self.seed % 2**64, self.choice))


class Sampler:
    """Draws the next token of up to `capacity` sequences at once: each has a row, and rows 0 to B - 1 are taken."""

    def __init__(self, capacity: int, vocabulary: int) -> None:
        self._options: list[SamplingOptions] = []  # one a taken row
        self._generators: list[np.random.Generator] = []
        self._rows = np.arange(capacity)
        self._greedy = np.zeros(capacity, dtype=bool)
        self._scale = np.ones((capacity, 1))  # 1 / temperature
        self._draws = np.empty((capacity, DRAWS))
        self._next_draw = np.zeros(capacity, dtype=np.int64)
        self._top_k = np.zeros((capacity, 1), dtype=np.int64)
        self._top_p = np.zeros((capacity, 1))
        self._min_p = np.zeros((capacity, 1))
        self._repetition = np.ones((capacity, 1))
        self._presence = np.zeros((capacity, 1))
        self._frequency = np.zeros((capacity, 1))
        self._bias = np.zeros((capacity, vocabulary))
        self._generated = np.zeros((capacity, vocabulary))  # how often
        self._seen = np.zeros((capacity, vocabulary), dtype=bool)  # in the prompt or the text
        self._columns = [value for name, value in vars(self).items() if isinstance(value, np.ndarray) and name != "_rows"]
        self._count_kinds()

    def __len__(self) -> int:
        return len(self._options)

    def add(self, options: SamplingOptions, prompt_ids: Sequence[int] | NDArray[np.int64] = ()) -> int:
        """Take the next free row for a sequence; its number."""
        row, vocabulary = len(self._options), self._bias.shape[1]
        self._options.append(options)
        self._generators.append(options.generator())
        self._greedy[row] = options.is_greedy
        self._scale[row] = 1.0 if options.is_greedy else 1 / options.temperature
        self._next_draw[row] = DRAWS
        self._top_k[row] = min(options.top_k, vocabulary) or vocabulary  # it may be any number, of any length
        self._top_p[row] = options.top_p if options.top_p < 1 else np.inf  # no rounding may cost a token its place
        self._min_p[row] = options.min_p
        self._repetition[row] = max(options.repetition_penalty, COLDEST)
        self._presence[row], self._frequency[row] = options.presence_penalty, options.frequency_penalty
        self._bias[row], self._generated[row], self._seen[row] = 0, 0, False
        self._bias[row, list(options.logit_bias)] = list(options.logit_bias.values())
        self._seen[row, np.asarray(prompt_ids, dtype=np.int64)] = True
        self._count_kinds()
        return row

    def remove(self, row: int) -> None:
        """Free a row: the last one moves there."""
        last = len(self._options) - 1
        for column in self._columns:
            column[row] = column[last]
        self._options[row] = self._options[last]
        self._generators[row] = self._generators[last]
        del self._options[last], self._generators[last]
        self._count_kinds()

    def sample(self, logits: NDArray[np.float32], first: int = 0) -> NDArray[np.int64]:
        """The next token of the rows from `first` on. (B, V) -> (B,)"""
        rows = slice(first, first + len(logits))
        scores = logits.astype(np.float64)  # (B, V)
        if self._any_penalised:
            scores = self._penalised(scores, rows)
        if self._all_greedy:
            ids: NDArray[np.int64] = scores.argmax(axis=1)
        elif self._any_greedy:
            ids = np.where(self._greedy[rows], scores.argmax(axis=1), self._drawn(scores, rows))
        else:
            ids = self._drawn(scores, rows)
        if self._any_penalised:
            taken = self._rows[rows]
            self._generated[taken, ids] += 1
            self._seen[taken, ids] = True
        return ids

    def _drawn(self, scores: NDArray[np.float64], rows: slice) -> NDArray[np.int64]:
        """One draw a row by the inverse of the cumulated weights; overwrites `scores`."""
        scores = scores * self._scale[rows]
        scores -= scores.max(axis=1, keepdims=True)
        weights = np.exp(scores, out=scores)
        if self._any_filtered:
            weights *= self._kept(weights, rows)
        cumulated = weights.cumsum(axis=1)  # (B, V)
        threshold = self._draw(rows) * cumulated[:, -1]
        ids: NDArray[np.int64] = (cumulated <= threshold[:, None]).sum(axis=1)
        return ids

    def _draw(self, rows: slice) -> NDArray[np.float64]:
        """The next uniform number of each row, in [0, 1). (B,)"""
        positions = self._next_draw[rows]  # a view
        if positions.max() == DRAWS:
            for row in np.flatnonzero(positions == DRAWS) + rows.start:
                self._draws[row] = self._generators[row].random(DRAWS) * BELOW_ONE
                self._next_draw[row] = 0
        drawn: NDArray[np.float64] = self._draws[self._rows[rows], positions]
        positions += 1
        return drawn

    def _penalised(self, scores: NDArray[np.float64], rows: slice) -> NDArray[np.float64]:
        repetition = self._repetition[rows]
        repeated = np.where(scores > 0, scores / repetition, scores * repetition)
        scores = np.where(self._seen[rows], repeated, scores)
        generated = self._generated[rows]
        return scores - self._frequency[rows] * generated - self._presence[rows] * (generated > 0) + self._bias[rows]

    def _kept(self, weights: NDArray[np.float64], rows: slice) -> NDArray[np.bool_]:
        """Which tokens top-k, then top-p, then min-p leave; of equally likely ones the lower id comes first. (B, V)"""
        order = np.argsort(-weights, axis=1, kind="stable")
        ranked = np.take_along_axis(weights, order, axis=1)
        kept = np.arange(weights.shape[1]) < self._top_k[rows]
        ranked *= kept
        cumulated = ranked.cumsum(axis=1)
        kept &= cumulated - ranked < self._top_p[rows] * cumulated[:, -1:]
        kept &= ranked >= self._min_p[rows] * ranked[:, :1]
        kept[:, 0] = True  # a top-p of 0 means the most likely one
        result = np.empty_like(kept)
        np.put_along_axis(result, order, kept, axis=1)
        return result

    def _count_kinds(self) -> None:
        """Which steps `sample` may leave out."""
        self._any_greedy = any(options.is_greedy for options in self._options)
        self._all_greedy = all(options.is_greedy for options in self._options)
        self._any_penalised = any(options.is_penalised for options in self._options)
        self._any_filtered = any(options.is_filtered for options in self._options)


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log-probabilities in nats over the last axis: the model's own, before any option."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Log-probabilities of N consecutive tokens, and of the k tokens that were most likely in each place."""

    chosen: NDArray[np.float64]  # (N,)
    top_ids: NDArray[np.int64]  # (N, k), the most likely first
    top: NDArray[np.float64]  # (N, k)


def token_logprobs(logits: NDArray[np.floating], ids: NDArray[np.int64], top: int) -> TokenLogprobs:
    """What the model gave to `ids`: (N, V) logits and (N,) tokens."""
    logprobs = log_softmax(logits)
    top_ids = np.argsort(-logprobs, axis=1, kind="stable")[:, :top]
    return TokenLogprobs(logprobs[np.arange(len(ids)), ids], top_ids, np.take_along_axis(logprobs, top_ids, axis=1))
