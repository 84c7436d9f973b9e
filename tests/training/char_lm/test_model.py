"""The network, and the three forms of it that must agree."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor

from training.kit.export import export, open_session
from training.recipes.char_lm import graph
from training.recipes.char_lm.config import Config, NetConfig
from training.recipes.char_lm.model import CharLSTM
from training.recipes.char_lm.quantized import WEIGHT_LIMIT, IntegerProduct, QuantizedStep
from training.recipes.char_lm.step import Step
from training.recipes.char_lm.tensors import parity_cases, tensor_specs
from training.recipes.char_lm.train import draw_chunks, optimizer_for, set_learning_rate

VOCABULARY = 11
UNLIMITED_PRECISION = 1e-5
QUANTIZED = 0.03  # what int8 may change in a logit of this small network


@pytest.fixture(scope="module")
def network() -> CharLSTM:
    torch.manual_seed(0)
    network = CharLSTM(NetConfig(embedding=8, hidden=24, layers=3), VOCABULARY)
    torch.nn.init.normal_(network.head.weight)
    return network.eval()


@torch.no_grad()
def read(network: CharLSTM, ids: list[int], state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    logits, next_state = network(torch.tensor([ids]), network.zero_state(1) if state is None else state)
    return logits[0], next_state


def test_a_text_read_in_two_parts_is_read_as_one(network: CharLSTM) -> None:
    whole, end = read(network, [3, 1, 4, 1, 5])
    first, state = read(network, [3, 1])
    second, end_again = read(network, [4, 1, 5], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(end_again, end)


@pytest.mark.parametrize("form", [Step, QuantizedStep])
def test_a_sequence_ends_at_its_own_length(network: CharLSTM, form: type[Step] | type[QuantizedStep]) -> None:
    texts = [[3, 1, 4, 1, 5], [9], [2, 6]]
    padded = torch.tensor([text + [7] * (5 - len(text)) for text in texts])
    lengths = torch.tensor([len(text) for text in texts])
    with torch.no_grad():
        logits, state = form(network)(padded, lengths, network.zero_state(3))
    tolerance = UNLIMITED_PRECISION if form is Step else QUANTIZED
    for row, text in enumerate(texts):
        expected, end = read(network, text)
        torch.testing.assert_close(logits[row, : len(text)], expected, atol=tolerance, rtol=0)
        torch.testing.assert_close(state[row], end[0], atol=tolerance, rtol=0)


def test_the_float_graph_is_one_node_a_layer(network: CharLSTM, tmp_path: Path) -> None:
    import onnx

    inputs, outputs = tensor_specs(network)
    export("step", Step(network), tmp_path / "step.onnx", inputs, outputs, parity_cases(network), 1e-4)
    kinds = [node.op_type for node in onnx.load(tmp_path / "step.onnx").graph.node]
    assert kinds.count("LSTM") == 3
    assert not {"Loop", "TopK", "ScatterElements"} & set(kinds)


def test_an_answer_of_the_int8_graph_is_the_same_to_the_last_bit_in_any_company(network: CharLSTM, tmp_path: Path) -> None:
    graph.write(QuantizedStep(network), tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx")
    draw = np.random.default_rng(1)
    tensors = {
        "input_ids": draw.integers(VOCABULARY, size=(33, 9)),
        "lengths": draw.integers(1, 10, size=33),
        "state": np.tanh(draw.standard_normal((33, 6, 24))).astype(np.float32),
    }
    together = session.run(None, tensors)
    for rows in (slice(0, 1), slice(5, 7), slice(11, 28)):
        alone = session.run(None, {name: array[rows] for name, array in tensors.items()})
        for one, all_of_them in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one, all_of_them[rows])


def test_a_product_of_whole_steps_is_exact() -> None:
    weights = torch.tensor([[1.0, -0.5], [0.25, 0.125]]) * 63 / 64
    product = IntegerProduct(weights, limit=63)
    x = torch.tensor([[127.0, -127.0]]) / 127  # two whole numbers of steps
    rounded = product.weights.float().T * product.scale[:, None] * 127
    torch.testing.assert_close(product(x), x @ rounded.T, atol=1e-6, rtol=0)
    assert product.weights.abs().max() == 63


def test_two_products_of_seven_bits_fit_in_sixteen() -> None:
    assert 2 * 255 * WEIGHT_LIMIT < 2**15


def test_the_forget_gate_is_open_at_first() -> None:
    layer = CharLSTM(NetConfig(embedding=4, hidden=6), VOCABULARY).layers[0]
    assert (layer.bias_ih_l0 + layer.bias_hh_l0).tolist() == [0.0] * 6 + [1.0] * 6 + [0.0] * 12


def test_weight_drop_acts_in_training_alone_and_is_learned_through() -> None:
    torch.manual_seed(0)
    network = CharLSTM(NetConfig(embedding=4, hidden=6, hidden_dropout=0, output_dropout=0, weight_drop=0.5), VOCABULARY)
    ids = torch.tensor([[1, 2, 3, 4]])
    first, second = (network(ids, network.zero_state(1))[0] for _ in range(2))
    assert not torch.equal(first, second)
    first.sum().backward()
    gradient = network.layers[1].weight_hh_l0.grad
    assert gradient is not None
    assert (gradient == 0).any()
    assert (gradient != 0).any()
    network.eval()
    assert torch.equal(*(network(ids, network.zero_state(1))[0] for _ in range(2)))


def test_chunks_follow_one_another_and_cover_the_turned_text() -> None:
    config = Config(batch_size=3, chunk=4, reset_probability=0.0)
    ids = np.arange(50)
    chunks = [characters.numpy() for characters, _ in draw_chunks(ids, config, epoch=0)]
    assert [chunk.shape for chunk in chunks] == [(3, 5)] * 3
    for before, after in itertools.pairwise(chunks):
        np.testing.assert_array_equal(before[:, -1], after[:, 0])
    steps = np.diff(np.concatenate(chunks, axis=1), axis=1) % 50
    assert set(steps.ravel().tolist()) == {0, 1}  # 0 where a chunk repeats the last character of the one before


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (9, 1.0), (59, 1.0), (60, 1.0), (80, 0.5), (99, 0.025)])
def test_the_learning_rate_rises_stays_and_goes_down_in_a_straight_line(network: CharLSTM, step: int, share: float) -> None:
    config = Config(learning_rate=2.0, warmup_steps=10, cooldown_share=0.4)
    optimizer = optimizer_for(network, config)
    set_learning_rate(optimizer, config, step, steps=100)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([2.0 * share] * 2)
