"""Tiny real models that draw, written by hand as ONNX graphs: every pixel of the answer is known by construction.

The tinting model multiplies the picture by the weighted sum of its choices' tints; its leaky twin mixes in the mean of the
whole batch, and its slow twin takes half a second for the largest picture. The turning model has two branches, of which
the batch's first row chooses one: the negative, or the picture with red and blue exchanged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from tests.model_repository import card, encoded, graph_entry, model_of, new_folder, write

TINTS = {"rose": (1.0, 0.5, 0.25), "moss": (0.25, 1.0, 0.5), "none": (1.0, 1.0, 1.0)}  # share of red, green, blue that stays
DIRECTIONS = {"photo-to-negative": "A photograph as its negative", "red-to-blue": "Red and blue exchanged"}
MAX_SIDE_PX = 400
KERNEL_PX = 25

INPUTS = [
    {"name": "pixel_values", "datatype": "UINT8", "shape": [-1, 3, -1, -1]},
    {"name": "condition", "datatype": "FP32", "shape": [-1, len(TINTS)]},
]
OUTPUTS = [{"name": "reconstruction", "datatype": "FP32", "shape": [-1, 3, -1, -1]}]


def scene(width: int, height: int, seed: int = 1) -> NDArray[np.uint8]:
    """A picture that is nowhere plain: a smooth one with noise. (H, W, 3)"""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(40, 215, (5, 7, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(np.clip(np.asarray(coarse) + random.integers(-9, 10, (height, width, 3)), 0, 255), dtype=np.uint8)


def scene_png(width: int = 64, height: int = 48, seed: int = 1) -> bytes:
    return encoded(Image.fromarray(scene(width, height, seed)))


def tinted(pixels: NDArray[np.uint8], **weights: float) -> NDArray[np.uint8]:
    """What the tinting model must answer, (H, W, 3)."""
    tint = np.sum([weight * np.array(TINTS[name]) for name, weight in weights.items()], axis=0)
    return np.asarray(np.rint(np.clip(pixels / 255 * tint, 0, 1) * 255), dtype=np.uint8)


def write_tinting_model(
    root: Path, name: str = "tints", version: str = "1", *, leaky: bool = False, slow: bool = False, **changes: Any
) -> Path:
    """`changes` replace fields of the manifest. Returns the model's folder."""
    folder = new_folder(root, name, version)
    onnx.save(_tinting_graph(leaky, slow), folder / "model.onnx")
    choices = [{"name": choice, "title": choice.title()} for choice in TINTS]
    condition = {"option": "style", "choices": choices, "default": "rose", "mixable": True, "neutral": "none"}
    answer = scene(33, 21).astype(np.float32) / 255 * np.array(TINTS["rose"], np.float32)
    return _finish(folder, name, version, INPUTS, condition, answer, changes)


def write_turning_model(root: Path, name: str = "turns", version: str = "1", **changes: Any) -> Path:
    folder = new_folder(root, name, version)
    onnx.save(_turning_graph(), folder / "model.onnx")
    choices = [{"name": choice, "title": title} for choice, title in DIRECTIONS.items()]
    condition = {"option": "direction", "choices": choices, "default": "photo-to-negative", "mixable": False}
    inputs = [INPUTS[0], INPUTS[1] | {"shape": [-1, len(DIRECTIONS)]}]
    return _finish(folder, name, version, inputs, condition, 1 - scene(33, 21).astype(np.float32) / 255, changes)


def write_plain_drawing_model(root: Path, name: str = "negatives", version: str = "1", **changes: Any) -> Path:
    """A model without choices: the negative."""
    folder = new_folder(root, name, version)
    nodes = [*_scaled(), helper.make_node("Sub", ["one", "scaled"], ["reconstruction"])]
    onnx.save(model_of(nodes, [_pixel_values()], [_reconstruction()], _numbers()), folder / "model.onnx")
    return _finish(folder, name, version, INPUTS[:1], None, 1 - scene(33, 21).astype(np.float32) / 255, changes)


def _finish(
    folder: Path,
    name: str,
    version: str,
    inputs: list[dict[str, Any]],
    condition: dict[str, Any] | None,
    golden: NDArray[Any],
    changes: dict[str, Any],
) -> Path:
    """Golden request and manifest. `golden` is (H, W, 3)."""
    (folder / "golden" / "request.png").write_bytes(scene_png(33, 21))
    np.savez(folder / "golden" / "outputs.npz", reconstruction=golden.astype(np.float32).transpose(2, 0, 1)[None])
    fields = card(name, version, "image-to-image") | {
        "graphs": {"model": graph_entry(folder, inputs=inputs, outputs=OUTPUTS)},
        "processor": {"type": "photograph", "max_side_px": MAX_SIDE_PX},
        "condition": condition,
        "golden": {"request": "golden/request.png", "outputs": "golden/outputs.npz", "atol": 1e-5},
    }
    return write(folder, fields | changes)


def _tinting_graph(leaky: bool, slow: bool) -> onnx.ModelProto:
    nodes = [
        *_scaled(),
        helper.make_node("MatMul", ["condition", "tints"], ["tint"]),  # (B, 3)
        helper.make_node("Unsqueeze", ["tint", "sides"], ["tint_4d"]),  # (B, 3, 1, 1)
        helper.make_node("Mul", ["scaled", "tint_4d"], ["own"]),
    ]
    if leaky:
        nodes += [helper.make_node("ReduceMean", ["own", "batch"], ["mates"]), helper.make_node("Mean", ["own", "mates"], ["all"])]
    if slow:
        side = KERNEL_PX // 2
        nodes += [
            helper.make_node("Conv", ["scaled", "kernels"], ["blurred"], pads=[side] * 4),  # (B, 48, H, W)
            helper.make_node("ReduceMean", ["blurred", "channels"], ["nothing"]),  # (B, 1, H, W), all 0
            helper.make_node("Add", ["own", "nothing"], ["all"]),
        ]
    nodes.append(helper.make_node("Clip", ["all" if leaky or slow else "own", "zero", "one"], ["reconstruction"]))
    constants = _numbers() | {
        "kernels": np.zeros((48 if slow else 1, 3, KERNEL_PX, KERNEL_PX), dtype=np.float32),
        "channels": np.array([1], dtype=np.int64),
        "tints": np.array(list(TINTS.values()), dtype=np.float32),
        "sides": np.array([2, 3], dtype=np.int64),
        "batch": np.array([0], dtype=np.int64),
    }
    condition = helper.make_tensor_value_info("condition", TensorProto.FLOAT, ["batch_size", len(TINTS)])
    return model_of(nodes, [_pixel_values(), condition], [_reconstruction()], constants)


def _turning_graph() -> onnx.ModelProto:
    def branch(node: onnx.NodeProto) -> onnx.GraphProto:
        return helper.make_graph([node], node.output[0], [], [helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, None)])

    nodes = [
        *_scaled(),
        helper.make_node("Gather", ["condition", "first"], ["first_row"], axis=0),  # (C,)
        helper.make_node("Gather", ["first_row", "first"], ["first_weight"], axis=0),
        helper.make_node("Greater", ["first_weight", "half"], ["is_negative"]),
        helper.make_node(
            "If",
            ["is_negative"],
            ["reconstruction"],
            then_branch=branch(helper.make_node("Sub", ["one", "scaled"], ["negative"])),
            else_branch=branch(helper.make_node("Gather", ["scaled", "backwards"], ["exchanged"], axis=1)),
        ),
    ]
    constants = _numbers() | {
        "first": np.array(0, dtype=np.int64),
        "half": np.array(0.5, dtype=np.float32),
        "backwards": np.array([2, 1, 0], dtype=np.int64),
    }
    condition = helper.make_tensor_value_info("condition", TensorProto.FLOAT, ["batch_size", len(DIRECTIONS)])
    return model_of(nodes, [_pixel_values(), condition], [_reconstruction()], constants)


def _scaled() -> list[onnx.NodeProto]:
    """uint8 to [0, 1]. (B, 3, H, W)"""
    return [
        helper.make_node("Cast", ["pixel_values"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["pixels", "white"], ["scaled"]),
    ]


def _numbers() -> dict[str, NDArray[Any]]:
    return {name: np.array(value, dtype=np.float32) for name, value in (("zero", 0), ("one", 1), ("white", 255))}


def _pixel_values() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("pixel_values", TensorProto.UINT8, ["batch_size", 3, "height", "width"])


def _reconstruction() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("reconstruction", TensorProto.FLOAT, ["batch_size", 3, "height", "width"])
