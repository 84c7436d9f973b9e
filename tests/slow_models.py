"""A word classifier that takes as long as its text says, for tests of what happens when a server has too much to do.

It answers as the word classifier of `tests.model_repository`. Each "wait" costs a row about WAIT_S more, in many small nodes:
such a run can be stopped. A "hang" is one node that goes on for seconds, and no one can stop it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.model_repository import WORDS, card, graph_entry, model_of, new_folder, sha256, word_logits, write, write_tokenizer

WAIT_S = 0.005  # on one core of the machines that we have; a slower one takes longer
TURNS = 400  # of the loop behind one "wait"
SIDE = 64
HANG_STEPS = 10_000_000  # of a recurrent network of one cell: two seconds and more, 40 MB
SLOW_WORDS = WORDS | {"wait": (0.0, 0.0), "hang": (0.0, 0.0)}


def write_slow_model(root: Path, name: str = "slow", version: str = "1", **changes: Any) -> Path:
    """`changes` replace fields of the manifest. Returns the model's folder."""
    folder = new_folder(root, name, version)
    onnx.save(_slow_graph(), folder / "model.onnx")
    write_tokenizer(folder / "tokenizer.json", SLOW_WORDS)
    (folder / "golden" / "request.txt").write_text("the good film", encoding="utf-8")
    np.savez(folder / "golden" / "outputs.npz", logits=word_logits("the", "good", "film")[None])
    inputs = [
        {"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]},
        {"name": "lengths", "datatype": "INT64", "shape": [-1]},
    ]
    fields = card(name, version, "text-classification") | {
        "graphs": {"model": graph_entry(folder, inputs, [{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}])},
        "processor": {"type": "text", "sha256": sha256(folder / "tokenizer.json"), "max_tokens": 10_000, "head_tokens": 5_000},
        "labels": [{"name": "negative", "title": "Negative"}, {"name": "positive", "title": "Positive"}],
        "batching": {"max_batch_size": 1},
        "golden": {"request": "golden/request.txt", "outputs": "golden/outputs.npz", "atol": 1e-4},
    }
    return write(folder, fields | changes)


def _slow_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["of_words"]),  # (B, T, 2)
        helper.make_node("Shape", ["input_ids"], ["time"], start=1, end=2),  # (1,)
        helper.make_node("Squeeze", ["time"], ["steps"]),
        helper.make_node("Range", ["zero", "steps", "one"], ["positions"]),  # (T,)
        helper.make_node("Unsqueeze", ["lengths", "words"], ["ends"]),  # (B, 1)
        helper.make_node("Less", ["positions", "ends"], ["inside"]),  # (B, T)
        helper.make_node("Cast", ["inside"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask_3d"]),  # (B, T, 1)
        helper.make_node("Mul", ["of_words", "mask_3d"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "words"], ["sums"], keepdims=0),  # (B, 2)
        *_counted("wait"),
        helper.make_node("Mul", ["wait_count", "turns"], ["wait_turns"]),
        helper.make_node("Loop", ["wait_turns", "", "identity"], ["waited"], body=_turn()),
        helper.make_node("ReduceSum", ["waited"], ["waited_sum"], keepdims=0),  # SIDE: the identity is its own product
        *_counted("hang"),
        helper.make_node("Mul", ["hang_count", "hang_steps"], ["more_steps"]),
        helper.make_node("Add", ["more_steps", "one"], ["all_steps"]),
        helper.make_node("Unsqueeze", ["all_steps", "zeroth"], ["all_steps_1d"]),
        helper.make_node("Concat", ["all_steps_1d", "ones"], ["hang_shape"], axis=0),
        helper.make_node("ConstantOfShape", ["hang_shape"], ["silence"]),  # (steps, 1, 1) of zeros
        helper.make_node("RNN", ["silence", "cell", "cell"], ["", "hung"], hidden_size=1),  # (1, 1, 1): 0
        helper.make_node("ReduceSum", ["hung"], ["hung_sum"], keepdims=0),
        helper.make_node("Sub", ["waited_sum", "side"], ["nothing"]),
        helper.make_node("Add", ["nothing", "hung_sum"], ["still_nothing"]),
        helper.make_node("Add", ["sums", "still_nothing"], ["logits"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "weights": np.array(list(SLOW_WORDS.values()), dtype=np.float32),
        "words": np.array([1], dtype=np.int64),
        "last": np.array([2], dtype=np.int64),
        "zeroth": np.array([0], dtype=np.int64),
        "zero": np.array(0, dtype=np.int64),
        "one": np.array(1, dtype=np.int64),
        "ones": np.array([1, 1], dtype=np.int64),
        "wait_id": np.array(list(SLOW_WORDS).index("wait"), dtype=np.int64),
        "hang_id": np.array(list(SLOW_WORDS).index("hang"), dtype=np.int64),
        "turns": np.array(TURNS, dtype=np.int64),
        "hang_steps": np.array(HANG_STEPS, dtype=np.int64),
        "identity": np.eye(SIDE, dtype=np.float32),
        "side": np.array(SIDE, dtype=np.float32),
        "cell": np.zeros((1, 1, 1), dtype=np.float32),
    }
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "time_steps"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch_size"]),
    ]
    return model_of(nodes, inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 2])], constants)


def _counted(word: str) -> list[onnx.NodeProto]:
    """How often a word stands in the whole batch."""
    return [
        helper.make_node("Equal", ["input_ids", f"{word}_id"], [f"is_{word}"]),
        helper.make_node("Cast", [f"is_{word}"], [f"{word}_ones"], to=TensorProto.INT64),
        helper.make_node("ReduceSum", [f"{word}_ones"], [f"{word}_count"], keepdims=0),
    ]


def _turn() -> onnx.GraphProto:
    """One turn of the loop: a product of two small matrices."""
    of = helper.make_tensor_value_info
    return helper.make_graph(
        [helper.make_node("Identity", ["go_on"], ["go_on_too"]), helper.make_node("MatMul", ["product", "identity"], ["next_product"])],
        "turn",
        [of("turn", TensorProto.INT64, []), of("go_on", TensorProto.BOOL, []), of("product", TensorProto.FLOAT, [SIDE, SIDE])],
        [of("go_on_too", TensorProto.BOOL, []), of("next_product", TensorProto.FLOAT, [SIDE, SIDE])],
    )
