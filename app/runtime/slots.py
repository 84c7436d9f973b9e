"""The rows that live sequences hold, and the two runs that move them on: reading prompts, and a burst of steps.

Letters: B live sequences, T tokens of a prompt's chunk, K steps of a burst, V tokens of the vocabulary.

Rows 0 to B - 1 of the preallocated arrays are taken, so a step's inputs are views, without a gather. A sequence that
ends gives its row to the last one. Everything here is called from one thread at a time, off the event loop, but for
`interrupt` and `stop`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence as Items
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contract.sampling import Sampler, SamplingOptions, TokenLogprobs, token_logprobs
from app.contract.text import pad
from app.runtime.session import Session, Stopper, Tensors

Ids = NDArray[np.int64]
PROBE_LENGTHS = ((1,), (2, 4, 1, 3))  # of a step's rows, and of prompts that are read together, over and over
PROBE_ROWS = (1, 2, 3, 5, 8, 16, 33)  # the batches that must give what the full one gives


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One text to be generated."""

    input_ids: Ids  # (T,), at least one token
    max_tokens: int  # 0: only the prompt is read
    sampling: SamplingOptions
    logprobs: int | None = None  # report each token's, and so many of the most likely ones
    score_prompt: bool = False  # report them of the prompt's tokens as well, but for the first, which nothing foretells


@dataclass(frozen=True, slots=True)
class Tokens:
    """N consecutive tokens of one sequence."""

    ids: Ids  # (N,)
    logprobs: TokenLogprobs | None = None


@dataclass(slots=True, eq=False)
class Row:
    """What the runs know of one sequence."""

    request: GenerationRequest
    state: NDArray[np.float32]  # while its prompt is read
    read: int = 0  # tokens of the prompt

    @property
    def is_read(self) -> bool:
        return self.read == len(self.request.input_ids)


@dataclass(frozen=True, slots=True)
class Progress:
    """What one run brought one sequence."""

    prompt: Tokens | None = None  # of the prompt, with its log-probabilities
    generated: Tokens | None = None


class Slots:
    """At most `capacity` sequences of one recurrent graph (docs/decisions/0007-text-generation.md)."""

    def __init__(self, session: Session, capacity: int, state_shape: tuple[int, ...], vocabulary: int, chunk_tokens: int) -> None:
        self.capacity = capacity
        self.live: list[Row] = []
        self._session = session
        self._stopper = Stopper()
        self._state_shape = state_shape
        self._vocabulary = vocabulary
        self._chunk_tokens = chunk_tokens
        self._sampler = Sampler(capacity, vocabulary)
        self._state = np.zeros((capacity, *state_shape), dtype=np.float32)
        self._last_ids = np.zeros((capacity, 1), dtype=np.int64)
        self._one_each = np.ones(capacity, dtype=np.int64)
        self._same_shape = False  # always run `capacity` rows, of one token or of a whole chunk
        self._interrupted = False

    def row(self, request: GenerationRequest) -> Row:
        """A sequence before its first token: zeros are the state then."""
        return Row(request, np.zeros(self._state.shape[1:], dtype=np.float32))

    def nbytes_of(self, rows: int, tokens: int) -> int:
        """What so many rows hold, with so many tokens in their prompts."""
        return rows * int(self._state[0].nbytes) + tokens * self._last_ids.itemsize

    def read(self, rows: Items[Row]) -> list[Progress]:
        """The next chunk of each prompt, in one run. A sequence whose prompt ends is live then, and has its first token."""
        chunks = [row.request.input_ids[row.read : row.read + self._chunk_tokens] for row in rows]
        input_ids, lengths = pad(chunks, 0)  # (B, T), (B,)
        outputs = self._run(input_ids, lengths, np.stack([row.state for row in rows]), self._chunk_tokens)
        scores = [
            self._scored(row, outputs["logits"][index, :length]) for index, (row, length) in enumerate(zip(rows, lengths, strict=True))
        ]
        for row, length, state in zip(rows, lengths, outputs["next_state"], strict=True):
            row.read += int(length)
            row.state = state
        starting = [index for index, row in enumerate(rows) if row.is_read and row.request.max_tokens]
        first = self._start([rows[index] for index in starting], outputs["logits"][starting, lengths[starting] - 1])
        generated = dict(zip(starting, first, strict=True))
        return [Progress(score, generated.get(index)) for index, score in enumerate(scores)]

    def step(self, steps: int, seconds: float) -> list[Progress]:
        """At most so many tokens for every live sequence, in at most so much time; fewer when `interrupt` is called."""
        live, end = len(self.live), time.perf_counter() + seconds
        keep_logits = any(row.request.logprobs is not None for row in self.live)
        chosen: list[Ids] = []
        kept: list[NDArray[np.float32]] = []
        while True:
            outputs = self._run(self._last_ids[:live], self._one_each[:live], self._state[:live])
            logits = outputs["logits"][:, 0]  # (B, 1, V) -> (B, V)
            ids = self._sampler.sample(logits)
            self._state[:live], self._last_ids[:live, 0] = outputs["next_state"], ids
            chosen.append(ids)
            if keep_logits:
                kept.append(logits)
            if len(chosen) == steps or self._interrupted or time.perf_counter() >= end:
                break
        ids_by_row = np.stack(chosen, axis=1)  # (B, K)
        if not kept:
            return [Progress(generated=Tokens(ids)) for ids in ids_by_row]
        logits_by_row = np.stack(kept, axis=1)  # (B, K, V)
        return [Progress(generated=_tokens(row.request, *each)) for row, *each in zip(self.live, ids_by_row, logits_by_row, strict=True)]

    def interrupt(self) -> None:
        """End a burst after the step that runs: something waits. May be called from the event loop."""
        self._interrupted = True

    def stop(self) -> None:
        """End even the step that runs: nobody waits for any of its sequences. RunStopped is raised where it runs."""
        self._stopper.stop()

    def resume(self) -> None:
        self._interrupted = False
        self._stopper = Stopper()

    def renewed(self) -> Slots:
        """As many, all of them free, that share nothing with these: in these a run may still go on that was given up."""
        slots = Slots(self._session, self.capacity, self._state_shape, self._vocabulary, self._chunk_tokens)
        slots._same_shape = self._same_shape
        return slots

    def remove(self, row: Row) -> None:
        """Free the row of a live sequence: the last one moves there."""
        index, last = self.live.index(row), len(self.live) - 1
        self.live[index] = self.live[last]
        del self.live[last]
        self._state[index], self._last_ids[index] = self._state[last], self._last_ids[last]
        self._sampler.remove(index)

    def make_independent(self) -> bool:
        """Make a sequence's bits independent of how many run beside it; False if the graph's own kernels gave that away.

        Then every run has the same shape, at a price. On a CPU ONNX Runtime sums a row in the same order whatever the
        batch is; elsewhere the batch may choose another kernel.
        """
        self._same_shape = not all(self._is_independent(np.resize(lengths, self.capacity)) for lengths in PROBE_LENGTHS)
        return not self._same_shape

    def _is_independent(self, lengths: Ids) -> bool:
        """Whether the first rows of a batch answer alone, without the others' padding, as they do among all. (B,)"""
        input_ids = np.random.default_rng(0).integers(self._vocabulary, size=(self.capacity, int(lengths.max())))
        together = self._run(input_ids, lengths, self._state)
        for rows in {min(rows, self.capacity) for rows in PROBE_ROWS}:
            apart = self._run(input_ids[:rows, : lengths[:rows].max()], lengths[:rows], self._state[:rows])
            same_state = np.array_equal(apart["next_state"], together["next_state"][:rows])
            if not same_state or not all(
                np.array_equal(apart["logits"][row, :length], together["logits"][row, :length]) for row, length in enumerate(lengths[:rows])
            ):
                return False
        return True

    def _run(self, input_ids: Ids, lengths: Ids, state: NDArray[np.float32], most_tokens: int = 1) -> Tensors:
        rows, tokens = input_ids.shape
        if self._same_shape:
            missing = self.capacity - rows
            input_ids = np.pad(input_ids, ((0, missing), (0, most_tokens - tokens)))
            lengths = np.pad(lengths, (0, missing), constant_values=1)
            state = np.concatenate([state, np.zeros((missing, *state.shape[1:]), dtype=np.float32)])
        outputs = self._session.run({"input_ids": input_ids, "lengths": lengths, "state": state}, self._stopper)
        if not self._same_shape:
            return outputs
        return {"logits": outputs["logits"][:rows, :tokens], "next_state": outputs["next_state"][:rows]}

    def _scored(self, row: Row, logits: NDArray[np.float32]) -> Tokens | None:
        """What the logits of a chunk say of the prompt's tokens after each of them. (T, V)"""
        if not row.request.score_prompt:
            return None
        foretold = row.request.input_ids[row.read + 1 : row.read + 1 + len(logits)]
        return _tokens(row.request, foretold, logits[: len(foretold)])

    def _start(self, rows: list[Row], logits: NDArray[np.float32]) -> list[Tokens]:
        """Give each its row, and its first token from the logits behind its prompt. (B, V)"""
        if not rows:
            return []
        first = len(self.live)
        for row in rows:
            index = self._sampler.add(row.request.sampling, row.request.input_ids)
            self._state[index] = row.state
        self.live += rows
        ids = self._sampler.sample(logits, first)
        self._last_ids[first : len(self.live), 0] = ids
        return [_tokens(row.request, *each) for row, *each in zip(rows, ids[:, None], logits[:, None], strict=True)]


def _tokens(request: GenerationRequest, ids: Ids, logits: NDArray[np.float32]) -> Tokens:
    return Tokens(ids, None if request.logprobs is None else token_logprobs(logits, ids, request.logprobs))
