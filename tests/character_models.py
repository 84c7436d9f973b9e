"""Tiny and real character models, written as ONNX graphs by the contract of docs/decisions/0007-text-generation.md.

The summing model's most likely next character is known by construction: the one whose id is the sum of all ids so far,
plus one, so that a lost or a foreign state shows at once. `write_lstm_model` is an LSTM of any size with random weights.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from app.contract.sampling import Sampler, SamplingOptions
from tests.model_repository import card, graph_entry, model_of, new_folder, write

ALPHABET = "\n !',-.:;?\"()&*" + string.ascii_letters  # 67 characters: a prime, so the sums do not soon stand still
GAIN = 6.0  # the most likely character has exp(6) = 403 times the weight of any other: 86 % with 66 others
PROMPT = "Happy families"


def write_summing_model(root: Path, name: str = "sums", version: str = "1", **changes: Any) -> Path:
    """`changes` replace fields of the manifest. Returns the model's folder."""
    return _write_character_model(root, name, version, _summing_graph(), [-1, 1], summing_outputs(PROMPT), changes)


def write_lstm_model(root: Path, name: str = "lstm", *, layers: int = 2, hidden: int = 512, **changes: Any) -> Path:
    """Random weights; the golden answer is the session's own, since nobody knows it by construction."""
    from app.runtime.session import OrtSession

    graph = lstm_graph(layers, hidden)
    folder = _write_character_model(root, name, "1", graph, [-1, 2 * layers, hidden], {}, changes)
    inputs = {"input_ids": ids_of(PROMPT)[None], "lengths": np.array([len(PROMPT)]), "state": np.zeros((1, 2 * layers, hidden), np.float32)}
    np.savez(folder / "golden" / "outputs.npz", **OrtSession(folder / "model.onnx").run(inputs))
    return folder


def ids_of(text: str) -> NDArray[np.int64]:
    return np.array([ALPHABET.index(character) for character in text], dtype=np.int64)


def summing_outputs(prompt: str) -> dict[str, NDArray[np.float32]]:
    """What the summing model answers to a prompt from the beginning."""
    sums = np.cumsum(ids_of(prompt)) % len(ALPHABET)
    logits = GAIN * np.eye(len(ALPHABET), dtype=np.float32)[(sums + 1) % len(ALPHABET)]
    return {"logits": logits[None], "next_state": np.array([[sums[-1]]], dtype=np.float32)}


def most_likely_text(prompt: str, length: int) -> str:
    """What the summing model writes at temperature 0."""
    text, total = "", int(ids_of(prompt or "\n").sum())
    for _ in range(length):
        index = (total + 1) % len(ALPHABET)
        text += ALPHABET[index]
        total += index
    return text


def drawn_text(prompt: str, length: int, options: SamplingOptions) -> str:
    """What the summing model writes with these options: a loop of its own around the contract's sampler."""
    sampler, text, total = Sampler(1, len(ALPHABET)), "", int(ids_of(prompt or "\n").sum())
    sampler.add(options, ids_of(prompt or "\n"))
    for _ in range(length):
        logits = np.zeros((1, len(ALPHABET)), dtype=np.float32)
        logits[0, (total + 1) % len(ALPHABET)] = GAIN
        index = int(sampler.sample(logits)[0])
        text += ALPHABET[index]
        total += index
    return text


def _write_character_model(
    root: Path, name: str, version: str, graph: onnx.ModelProto, state: list[int], golden: dict[str, NDArray[Any]], changes: dict[str, Any]
) -> Path:
    folder = new_folder(root, name, version)
    onnx.save(graph, folder / "model.onnx")
    (folder / "golden" / "request.txt").write_text(PROMPT, encoding="utf-8")
    np.savez(folder / "golden" / "outputs.npz", **golden)
    inputs = [
        {"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]},
        {"name": "lengths", "datatype": "INT64", "shape": [-1]},
        {"name": "state", "datatype": "FP32", "shape": state},
    ]
    outputs = [
        {"name": "logits", "datatype": "FP32", "shape": [-1, -1, len(ALPHABET)]},
        {"name": "next_state", "datatype": "FP32", "shape": state},
    ]
    fields = card(name, version, "text-generation") | {
        "graphs": {"model": graph_entry(folder, inputs, outputs)},
        "processor": {"type": "characters", "characters": ALPHABET},
        "defaults": {"start": "\n"},
        "golden": {"request": "golden/request.txt", "outputs": "golden/outputs.npz", "atol": 1e-4},
        "notice": "A toy, not an author.",
    }
    return write(folder, fields | changes)


def _tensors(state: list[int]) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """(inputs, outputs) of every graph here."""
    of = helper.make_tensor_value_info
    inputs = [
        of("input_ids", TensorProto.INT64, ["batch_size", "time_steps"]),
        of("lengths", TensorProto.INT64, ["batch_size"]),
        of("state", TensorProto.FLOAT, ["batch_size", *state]),
    ]
    outputs = [
        of("logits", TensorProto.FLOAT, ["batch_size", "time_steps", len(ALPHABET)]),
        of("next_state", TensorProto.FLOAT, ["batch_size", *state]),
    ]
    return inputs, outputs


def _summing_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Shape", ["input_ids"], ["time"], start=1, end=2),  # (1,)
        helper.make_node("Squeeze", ["time"], ["steps"]),
        helper.make_node("Range", ["zero", "steps", "step"], ["positions"]),  # (T,)
        helper.make_node("Unsqueeze", ["lengths", "along_time"], ["ends"]),  # (B, 1)
        helper.make_node("Less", ["positions", "ends"], ["inside"]),  # (B, T)
        helper.make_node("Cast", ["inside"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["ids", "mask"], ["real_ids"]),
        helper.make_node("CumSum", ["real_ids", "axis"], ["sums_here"]),  # (B, T)
        helper.make_node("Add", ["sums_here", "state"], ["sums"]),
        helper.make_node("Add", ["sums", "one"], ["next"]),
        helper.make_node("Mod", ["next", "size"], ["next_ids"], fmod=1),
        helper.make_node("Cast", ["next_ids"], ["next_index"], to=TensorProto.INT64),
        helper.make_node("OneHot", ["next_index", "depth", "off_on"], ["logits"]),  # (B, T, V)
        helper.make_node("ReduceSum", ["real_ids", "along_time"], ["sum_here"], keepdims=1),  # (B, 1)
        helper.make_node("Add", ["sum_here", "state"], ["sum"]),
        helper.make_node("Mod", ["sum", "size"], ["next_state"], fmod=1),
    ]
    constants = {
        "zero": np.array(0, dtype=np.int64),
        "step": np.array(1, dtype=np.int64),
        "axis": np.array(1, dtype=np.int64),
        "along_time": np.array([1], dtype=np.int64),
        "one": np.array(1, dtype=np.float32),
        "size": np.array(len(ALPHABET), dtype=np.float32),
        "depth": np.array(len(ALPHABET), dtype=np.int64),
        "off_on": np.array([0, GAIN], dtype=np.float32),
    }
    return model_of(nodes, *_tensors([1]), constants)


def lstm_graph(layers: int, hidden: int, seed: int = 0) -> onnx.ModelProto:
    """Embedding, LSTMs, a linear layer; the state is (B, 2 * layers, hidden): each layer's h, then its c."""
    random, bound = np.random.default_rng(seed), 3 / np.sqrt(hidden)
    constants: dict[str, NDArray[Any]] = {
        "embedding": random.normal(0, 1, (len(ALPHABET), hidden)).astype(np.float32),
        "projection": random.uniform(-bound, bound, (hidden, len(ALPHABET))).astype(np.float32) * 4,
        "one": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["embedded"]),  # (B, T, H)
        helper.make_node("Transpose", ["embedded"], ["x0"], perm=[1, 0, 2]),  # (T, B, H)
        helper.make_node("Cast", ["lengths"], ["lengths32"], to=TensorProto.INT32),
        helper.make_node("Transpose", ["state"], ["by_layer"], perm=[1, 0, 2]),
        helper.make_node("Split", ["by_layer"], [f"s{index}" for index in range(2 * layers)], axis=0, num_outputs=2 * layers),
    ]
    for layer in range(layers):
        for name, shape in (("W", (1, 4 * hidden, hidden)), ("R", (1, 4 * hidden, hidden)), ("B", (1, 8 * hidden))):
            constants[f"{name}{layer}"] = random.uniform(-bound, bound, shape).astype(np.float32)
        nodes += _lstm_layer(layer, hidden)
    nodes += [
        helper.make_node("Transpose", [f"x{layers}"], ["hidden"], perm=[1, 0, 2]),  # (B, T, H)
        helper.make_node("MatMul", ["hidden", "projection"], ["logits"]),  # (B, T, V)
        helper.make_node("Concat", [f"{part}{layer}" for layer in range(layers) for part in "hc"], ["ends"], axis=0),
        helper.make_node("Transpose", ["ends"], ["next_state"], perm=[1, 0, 2]),
    ]
    return model_of(nodes, *_tensors([2 * layers, hidden]), constants)


def _lstm_layer(layer: int, hidden: int) -> list[NodeProto]:
    weights = [f"{name}{layer}" for name in "WRB"]
    inputs = [f"x{layer}", *weights, "lengths32", f"s{2 * layer}", f"s{2 * layer + 1}"]
    return [
        helper.make_node("LSTM", inputs, [f"y{layer}", f"h{layer}", f"c{layer}"], hidden_size=hidden),
        helper.make_node("Squeeze", [f"y{layer}", "one"], [f"x{layer + 1}"]),
    ]
