"""What is exported: both generators in one graph, which takes uint8 pictures of any size and one of two directions.

Letters: B pictures of one direction, H x W pixels.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from torch import Tensor, nn
from torch.nn import functional as F

from app.contract.manifest import Graph, TensorSpec
from training.kit.export import OPSET, export, proved
from training.kit.half import rounded, store_half
from training.recipes.cyclegan.model import Generator, Generators, to_unit

MULTIPLE = 4  # of both sides, what two steps down and up keep
PIXELS = TensorSpec(name="pixel_values", datatype="UINT8", shape=(-1, 3, -1, -1))
CONDITION = TensorSpec(name="condition", datatype="FP32", shape=(-1, 2))
RECONSTRUCTION = TensorSpec(name="reconstruction", datatype="FP32", shape=(-1, 3, -1, -1))
SHAPES = ((1, 64, 64), (3, 64, 64), (1, 321, 257), (3, 129, 70), (1, 16, 19))  # (B, H, W) of the proof
ATOL = 1e-4  # of a picture from 0 to 1; a step of a pixel is 4e-3

Case = dict[str, NDArray[np.generic]]


class Direction(nn.Module):
    """One generator between uint8 pixels (B, 3, H, W) and a picture in [0, 1] of the same height and width."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, pixel_values: Tensor) -> Tensor:
        height, width = pixel_values.shape[2:]
        x = F.pad(to_unit(pixel_values), (0, -width % MULTIPLE, 0, -height % MULTIPLE), mode="reflect")
        return ((self.generator(x)[:, :, :height, :width] + 1) / 2).clamp(0, 1)


class BothDirections(nn.Module):
    """The module that the whole file is proved against: the batch's first row says which generator answers."""

    def __init__(self, generators: Generators) -> None:
        super().__init__()
        self.ab, self.ba = Direction(generators.generator_ab), Direction(generators.generator_ba)

    def forward(self, pixel_values: Tensor, condition: Tensor) -> Tensor:
        return self.ba(pixel_values) if condition[0, 1] > 0.5 else self.ab(pixel_values)


def write(name: str, generators: Generators, path: Path) -> Graph:
    """`path`, both generators with weights in float16, proved. Rounds the weights of `generators` to what float16 holds."""
    both = BothDirections(rounded(generators)).eval()
    branches = []
    with tempfile.TemporaryDirectory() as folder:
        for side, direction in (("ab", both.ab), ("ba", both.ba)):
            file = Path(folder) / f"{side}.onnx"
            export(f"{name} {side}", direction, file, [PIXELS], [RECONSTRUCTION], [pixels_only(case) for case in cases()[:2]], ATOL)
            store_half(file)
            branches.append(onnx.load(file))
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(compose(*branches), path)
    return proved(name, both, path, [PIXELS, CONDITION], [RECONSTRUCTION], cases(), ATOL)


def compose(ab: onnx.ModelProto, ba: onnx.ModelProto) -> onnx.ModelProto:
    """One graph with an `If` on the first row of `condition`: then the second direction, else the first."""
    nodes = [
        helper.make_node("Gather", ["condition", "first"], ["weights"], axis=0),  # (B, 2) -> (2,)
        helper.make_node("Gather", ["weights", "second"], ["weight"], axis=0),  # ()
        helper.make_node("Greater", ["weight", "half"], ["backwards"]),
        helper.make_node("If", ["backwards"], ["reconstruction"], then_branch=_branch(ba, "ba"), else_branch=_branch(ab, "ab")),
    ]
    constants = [
        helper.make_tensor("first", TensorProto.INT64, [], [0]),
        helper.make_tensor("second", TensorProto.INT64, [], [1]),
        helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]),
    ]
    condition = helper.make_tensor_value_info("condition", TensorProto.FLOAT, ["batch", 2])
    whole = helper.make_graph(nodes, "directions", [*ab.graph.input, condition], list(ab.graph.output), constants)
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=ab.ir_version, producer_name="axon")
    onnx.checker.check_model(model, full_check=True)
    return model


def _branch(model: onnx.ModelProto, prefix: str) -> onnx.GraphProto:
    """A graph as a branch: no inputs, for it sees those of the whole, and names of its own for everything else."""

    def own(name: str) -> str:
        return name if name in ("", "pixel_values") else f"{prefix}.{name}"

    graph = onnx.GraphProto()
    graph.CopyFrom(model.graph)
    del graph.input[:], graph.value_info[:]
    graph.name = prefix
    for node in graph.node:
        node.name = own(node.name)
        for names in (node.input, node.output):
            names[:] = [own(name) for name in names]
    for tensor in (*graph.initializer, *graph.output):
        tensor.name = own(tensor.name)
    return graph


def cases() -> list[Case]:
    """Noise of one and of three rows at even and odd sizes, in both directions; a direction takes the first two to be traced."""
    generator = np.random.default_rng(0)
    return [
        {
            "pixel_values": generator.integers(0, 256, (batch, 3, height, width), dtype=np.uint8),
            "condition": one_hot(batch, direction),
        }
        for batch, height, width in SHAPES
        for direction in (0, 1)
    ]


def one_hot(batch: int, direction: int) -> NDArray[np.float32]:
    """`condition` of a batch that goes one way: 0 is from A to B, 1 from B to A."""
    return np.eye(2, dtype=np.float32)[[direction] * batch]


def pixels_only(case: Case) -> Case:
    return {"pixel_values": case["pixel_values"]}
