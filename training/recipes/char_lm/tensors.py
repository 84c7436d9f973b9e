"""Names and axes of the step graph (docs/decisions/0007-text-generation.md), and the inputs on which an export is proved."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contract.manifest import TensorSpec
from app.contract.text import pad
from training.recipes.char_lm.model import CharLSTM

LENGTHS = ((7, 2, 5), (1,), (33,), (1, 1, 1), (3, 9, 1), (120,), (2, 61, 17, 1, 8))  # of the sequences of each batch


def tensor_specs(network: CharLSTM) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """(inputs, outputs)"""
    state = (-1, *network.zero_state(1).shape[1:])
    return (
        TensorSpec(name="input_ids", datatype="INT64", shape=(-1, -1)),
        TensorSpec(name="lengths", datatype="INT64", shape=(-1,)),
        TensorSpec(name="state", datatype="FP32", shape=state),
    ), (
        TensorSpec(name="logits", datatype="FP32", shape=(-1, -1, network.head.out_features)),
        TensorSpec(name="next_state", datatype="FP32", shape=state),
    )


def parity_cases(network: CharLSTM) -> list[dict[str, NDArray[Any]]]:
    """One, three and five sequences of equal and unequal lengths, from zero states and from any."""
    draw = np.random.default_rng(0)
    vocabulary, shape = network.head.out_features, network.zero_state(1).shape[1:]
    cases = []
    for number, lengths in enumerate(LENGTHS):
        input_ids, counted = pad([draw.integers(vocabulary, size=length) for length in lengths], 0)
        state = np.tanh(draw.standard_normal((len(lengths), *shape))) * (number % 2)
        cases.append({"input_ids": input_ids, "lengths": counted, "state": state.astype(np.float32)})
    return cases
