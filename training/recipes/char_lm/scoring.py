"""Nats per character, in the two ways that are quoted for these texts, of the PyTorch module and of an ONNX file alike.

Letters: B sequences, T characters, V characters of the alphabet, N characters of a text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from app.contract.sampling import log_softmax
from training.kit.roc import Interval, interval
from training.recipes.char_lm.model import CharLSTM

Ids = NDArray[np.int64]
Floats = NDArray[np.floating]

READ_AT_ONCE = 256  # characters of a long text
WINDOWS_AT_ONCE = 64


@dataclass(frozen=True)
class Reader:
    """Anything that reads characters: ids (B, T) and states (B, ...) to logits (B, T, V) and the next states."""

    read: Callable[[Ids, Floats], tuple[Floats, Floats]]
    state_shape: tuple[int, ...]  # of one sequence

    def zero_state(self, batch: int) -> Floats:
        return np.zeros((batch, *self.state_shape), dtype=np.float32)


def eager(network: CharLSTM) -> Reader:
    @torch.no_grad()
    def read(ids: Ids, state: Floats) -> tuple[Floats, Floats]:
        logits, next_state = network(torch.from_numpy(ids), torch.from_numpy(state))
        return logits.numpy(), next_state.numpy()

    return Reader(read, tuple(network.zero_state(1).shape[1:]))


def served(session: onnxruntime.InferenceSession) -> Reader:
    def read(ids: Ids, state: Floats) -> tuple[Floats, Floats]:
        lengths = np.full(len(ids), ids.shape[1], dtype=np.int64)
        logits, next_state = session.run(["logits", "next_state"], {"input_ids": ids, "lengths": lengths, "state": state})
        return logits, next_state

    shape = next(node.shape for node in session.get_inputs() if node.name == "state")
    return Reader(read, tuple(shape[1:]))


def carried(reader: Reader, ids: Ids, title: str | None = None) -> Floats:
    """The text read once, from a zero state that is carried to its end: nats of every character but the first, (N - 1,)."""
    return side_by_side(reader, ids, 1, title)


def side_by_side(reader: Reader, ids: Ids, streams: int, title: str | None = None) -> Floats:
    """The same over `streams` equal parts of the text at once, which is faster; a remainder is left out."""
    length = len(ids) // streams
    parts, state = ids[: streams * length].reshape(streams, length), reader.zero_state(streams)
    nats = []
    for start in tqdm(range(0, length - 1, READ_AT_ONCE), title, disable=title is None, unit="chunk", mininterval=5):
        part = parts[:, start : start + READ_AT_ONCE + 1]
        logits, state = reader.read(np.ascontiguousarray(part[:, :-1]), state)
        nats.append(nats_of(logits, part[:, 1:]))
    return np.concatenate(nats, axis=1).ravel()


def windowed(reader: Reader, ids: Ids, block: int) -> Floats:
    """The text in blocks that begin without a state; every character of a block is scored, as nanoGPT does (there: random blocks)."""
    count = (len(ids) - 1) // block
    inputs, targets = ids[: count * block].reshape(count, block), ids[1 : count * block + 1].reshape(count, block)
    nats = []
    for start in range(0, count, WINDOWS_AT_ONCE):
        rows = slice(start, start + WINDOWS_AT_ONCE)
        logits, _ = reader.read(inputs[rows], reader.zero_state(len(inputs[rows])))
        nats.append(nats_of(logits, targets[rows]))
    return np.concatenate(nats).ravel()


def nats_of(logits: Floats, targets: Ids) -> Floats:
    """-log p of each target: (B, T, V) and (B, T) to (B, T)."""
    return -np.take_along_axis(log_softmax(logits), targets[..., None], axis=-1)[..., 0]


def mean_interval(nats: Floats, block: int = 1_000, replicates: int = 2_000) -> Interval:
    """The mean and its 95 % interval: a bootstrap over blocks of the text, since neighbours are alike."""
    blocks = np.array([part.mean() for part in np.array_split(nats, max(len(nats) // block, 2))])
    drawn = np.random.default_rng(0).integers(len(blocks), size=(replicates, len(blocks)))
    return interval(float(nats.mean()), blocks[drawn].mean(axis=1))
