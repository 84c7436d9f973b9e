"""`QuantizedStep` as an ONNX file: one Scan over the characters, the weights int8, a product one MatMulInteger.

Letters: B sequences, T characters, L layers, H hidden, V characters of the alphabet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, TensorProto, ValueInfoProto, helper, numpy_helper
from torch import Tensor

from training.recipes.char_lm.quantized import STEPS_PER_UNIT, ZERO_POINT, QuantizedStep

OPSET, IR_VERSION = 21, 10
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def write(step: QuantizedStep, path: Path) -> None:
    """The graph of docs/decisions/0007-text-generation.md."""
    hidden, vocabulary, states = step.head.in_features, step.head.out_features, 2 * len(step.products)
    graph = GraphWriter()
    before = graph.ops("Split", states, "state", axis=1, num_outputs=states)
    before = [graph.op("Squeeze", part, graph.constant([1])) for part in before]  # (B, 1, H) -> (B, H)
    ids = graph.op("Transpose", "input_ids", perm=[1, 0])  # (B, T) -> (T, B)
    body = one_character(step)
    *after, outputs = graph.ops("Scan", states + 1, *before, ids, alive(graph), body=body, num_scan_inputs=2)  # (T, B, H) of the last layer
    scores = graph.op("MatMul", graph.op("Transpose", outputs, perm=[1, 0, 2]), graph.constant(step.head.weight.T))  # (B, T, V)
    graph.op("Add", scores, graph.constant(step.head.bias), name="logits")
    graph.op("Concat", *(graph.op("Unsqueeze", part, graph.constant([1])) for part in after), axis=1, name="next_state")
    inputs = [tensor("input_ids", INT64, "B", "T"), tensor("lengths", INT64, "B"), tensor("state", FLOAT, "B", states, hidden)]
    answers = [tensor("logits", FLOAT, "B", "T", vocabulary), tensor("next_state", FLOAT, "B", states, hidden)]
    model = helper.make_model(
        graph.finish("step", inputs, answers), opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="axon"
    )
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def alive(graph: GraphWriter) -> str:
    """Whether character t belongs to the sequence, or pads it: (T, B, 1)."""
    length = graph.op("Squeeze", graph.op("Shape", "input_ids", start=1, end=2))  # T
    places = graph.op("Range", graph.constant(0), length, graph.constant(1))  # (T,)
    return graph.op(
        "Less", graph.op("Unsqueeze", places, graph.constant([1, 2])), graph.op("Unsqueeze", "lengths", graph.constant([1]))
    )  # (T, 1, 1) < (B, 1)


def one_character(step: QuantizedStep) -> GraphProto:
    """The Scan's body, `QuantizedStep.step`: h, c of every layer (B, H), ids (B,), alive (B, 1) -> h, c of every layer, the last h."""
    hidden, graph = step.head.in_features, GraphWriter("character_")
    names = [f"{kind}{layer}" for layer in range(len(step.products)) for kind in "hc"]
    new: list[str] = []
    for layer in range(len(step.products)):
        h, c = f"h{layer}", f"c{layer}"
        x = graph.op("Concat", new[-2], h, axis=1) if layer else h
        known = graph.constant(step.biases[layer - 1]) if layer else graph.op("Gather", graph.constant(step.table), "ids")
        gates = graph.op("Add", integer_product(graph, step, layer, x), known)  # (B, 4H)
        open_gates, cell = graph.ops("Split", 2, gates, graph.constant([3 * hidden, hidden]), axis=1)
        i, o, f = graph.ops("Split", 3, graph.op("Sigmoid", open_gates), axis=1, num_outputs=3)
        c = graph.op("Add", graph.op("Mul", f, c), graph.op("Mul", i, graph.op("Tanh", cell)))
        new += [graph.op("Mul", o, graph.op("Tanh", c)), c]
    kept = [graph.op("Where", "alive", after, before) for after, before in zip(new, names, strict=True)]
    inputs = [*(tensor(name, FLOAT, "B", hidden) for name in names), tensor("ids", INT64, "B"), tensor("alive", BOOL, "B", 1)]
    return graph.finish("character", inputs, [tensor(name, FLOAT, "B", hidden) for name in [*kept, graph.op("Identity", new[-2])]])


def integer_product(graph: GraphWriter, step: QuantizedStep, layer: int, x: str) -> str:
    """`IntegerProduct`: (B, K) to (B, 4H)."""
    product, zero_point = step.products[layer], graph.constant(np.uint8(ZERO_POINT))
    steps = graph.op("QuantizeLinear", x, graph.constant(np.float32(1 / STEPS_PER_UNIT)), zero_point)  # (B, K) uint8
    whole = graph.op("MatMulInteger", steps, graph.constant(product.weights), zero_point)  # (B, 4H) int32
    return graph.op("Mul", graph.op("Cast", whole, to=FLOAT), graph.constant(product.scale))


def tensor(name: str, datatype: int, *shape: int | str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, datatype, shape)


class GraphWriter:
    """Nodes in the order in which they are asked for. `prefix` keeps the names of a body apart from those around it."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix
        self._nodes: list[Any] = []
        self._constants: list[TensorProto] = []

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """A node with one output; its name."""
        output = name or f"{self._prefix}{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def ops(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """A node with `count` outputs; their names."""
        outputs = [f"{self._prefix}{kind.lower()}_{len(self._nodes)}_{number}" for number in range(count)]
        self._nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs

    def constant(self, value: Tensor | NDArray[Any] | np.generic | int | list[int]) -> str:
        array = value.detach().contiguous().numpy() if isinstance(value, Tensor) else np.asarray(value)
        name = f"{self._prefix}constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def finish(self, name: str, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto]) -> GraphProto:
        return helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
