"""Tiny real models, written by hand as ONNX graphs: every answer is known by construction.

The colour classifier answers `GAIN` x the mean of each channel; the word classifier answers the sum of its words'
weights. Both have a leaky twin whose answers depend on the batch mates: what the invariance checks must catch.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

from app.contract.files import sha256
from app.contract.manifest import ModelManifest, load_manifest

OPSET, IR_VERSION = 21, 10
SIDE_PX = 32
GAIN = 0.02  # a channel of 255 gives a logit of 5.1
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (128, 128, 128)}

WORDS = {  # word -> (negative, positive); the padding has a weight so that a missing mask shows
    "<pad>": (3.0, -2.0),
    "<unk>": (0.0, 0.0),
    "good": (0.0, 2.0),
    "bad": (2.0, 0.0),
    "not": (0.5, 0.0),
    "the": (0.0, 0.0),
    "film": (0.0, 0.25),
}
MAX_TOKENS, HEAD_TOKENS = 80, 31


def encoded(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def picture(colour: str = "red", size: tuple[int, int] = (48, 40), image_format: str = "PNG") -> bytes:
    """One plain colour, encoded."""
    return encoded(Image.new("RGB", size, COLOURS[colour]), image_format)


def write_colour_model(root: Path, name: str = "colours", version: str = "1", *, leaky: bool = False, **changes: Any) -> Path:
    """`changes` replace fields of the manifest. Returns the model's folder."""
    folder = new_folder(root, name, version)
    onnx.save(_colour_graph(leaky), folder / "model.onnx")
    (folder / "golden" / "request.png").write_bytes(picture("red"))
    np.savez(folder / "golden" / "outputs.npz", logits=np.array([[255 * GAIN, 0, 0]], dtype=np.float32))
    fields = card(name, version, "image-classification") | {
        "graphs": {
            "model": graph_entry(
                folder,
                inputs=[{"name": "pixel_values", "datatype": "UINT8", "shape": [-1, 3, SIDE_PX, SIDE_PX]}],
                outputs=[{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}],
            )
        },
        "processor": {"type": "image", "height": SIDE_PX, "width": SIDE_PX},
        "labels": [{"name": colour, "title": colour.title()} for colour in ("red", "green", "blue")],
        "targets": [target("reddish", ["red"]), target("warm", ["red", "green"])],
        "default_target": "reddish",
        "golden": {"request": "golden/request.png", "outputs": "golden/outputs.npz", "atol": 1e-4},
        "notice": "A toy, not a medical device.",
    }
    return write(folder, fields | changes)


def write_word_model(root: Path, name: str = "words", version: str = "1", *, leaky: bool = False, **changes: Any) -> Path:
    """`changes` replace fields of the manifest. Returns the model's folder."""
    folder = new_folder(root, name, version)
    onnx.save(_word_graph(leaky), folder / "model.onnx")
    write_tokenizer(folder / "tokenizer.json")
    (folder / "golden" / "request.txt").write_text("the good film", encoding="utf-8")
    np.savez(folder / "golden" / "outputs.npz", logits=word_logits("the", "good", "film")[None])
    fields = card(name, version, "text-classification") | {
        "graphs": {
            "model": graph_entry(
                folder,
                inputs=[
                    {"name": "input_ids", "datatype": "INT64", "shape": [-1, -1]},
                    {"name": "lengths", "datatype": "INT64", "shape": [-1]},
                ],
                outputs=[{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}],
            )
        },
        "processor": {
            "type": "text",
            "sha256": sha256(folder / "tokenizer.json"),
            "max_tokens": MAX_TOKENS,
            "head_tokens": HEAD_TOKENS,
        },
        "labels": [{"name": "negative", "title": "Negative"}, {"name": "positive", "title": "Positive"}],
        "golden": {"request": "golden/request.txt", "outputs": "golden/outputs.npz", "atol": 1e-4},
    }
    return write(folder, fields | changes)


def write_tokenizer(path: Path, words: Iterable[str] = WORDS) -> None:
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(path))


def word_logits(*words: str) -> NDArray[np.float32]:
    """What the word classifier must answer. (2,)"""
    return np.sum([WORDS[word] for word in words], axis=0).astype(np.float32)


def target(name: str, labels: list[str]) -> dict[str, Any]:
    """A yes-or-no question whose test curve falls in a straight line from (0, 1) to (1, 0) of (threshold, sensitivity)."""
    thresholds = [0.0, 0.5, 1.0]
    return {
        "name": name,
        "title": name.title(),
        "labels": labels,
        "roc": {
            "split": "test",
            "n_positive": 40,
            "n_negative": 60,
            "auroc": {"value": 0.9, "ci95": [0.8, 0.95]},
            "threshold": thresholds,
            "sensitivity": [1.0, 0.5, 0.0],
            "specificity": [0.0, 0.8, 1.0],
            "sensitivity_ci95": [[1.0, 1.0], [0.4, 0.6], [0.0, 0.0]],
            "specificity_ci95": [[0.0, 0.0], [0.7, 0.9], [1.0, 1.0]],
        },
        "selection": {"threshold": [0.1, 0.3, 0.6], "sensitivity": [0.99, 0.9, 0.5]},
        "operating_points": [_point("balanced", 0.5, 0.5, 0.8), _point("sensitivity-95", 0.05, 0.95, 0.08)],
        "default_operating_point": "balanced",
        "measured_on": "test split, 100 pictures of 100 spots",
    }


def _point(name: str, threshold: float, sensitivity: float, specificity: float) -> dict[str, Any]:
    return {
        "name": name,
        "threshold": threshold,
        "sensitivity": {"value": sensitivity, "ci95": [sensitivity - 0.05, sensitivity + 0.05]},
        "specificity": {"value": specificity, "ci95": [specificity - 0.05, specificity + 0.05]},
    }


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Change the file as a person would, past the class that guards it."""
    path = folder / "manifest.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    edit(fields)
    path.write_text(json.dumps(fields), encoding="utf-8")


def forget_origin(folder: Path) -> None:
    """Make the manifest one that somebody wrote by hand: without all that only a recipe knows."""

    def edit(fields: dict[str, Any]) -> None:
        for name in (
            "description",
            "golden",
            "metrics",
            "provenance",
            "license",
            "intended_use",
            "limitations",
            "targets",
            "default_target",
        ):
            fields.pop(name, None)
        for graph in fields["graphs"].values():
            del graph["sha256"], graph["atol"]

    edit_manifest(folder, edit)


def rehash(folder: Path) -> None:
    """Make the manifest's sha256 that of the graph which lies there now."""
    edit_manifest(folder, lambda fields: fields["graphs"]["model"].update(sha256=sha256(folder / "model.onnx")))


def rehashed_manifest(folder: Path) -> ModelManifest:
    rehash(folder)
    return load_manifest(folder)


def new_folder(root: Path, name: str, version: str) -> Path:
    folder = root / name / version
    (folder / "golden").mkdir(parents=True)
    return folder


def write(folder: Path, fields: dict[str, Any]) -> Path:
    ModelManifest.model_validate(fields).save(folder)
    return folder


def graph_entry(folder: Path, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"file": "model.onnx", "sha256": sha256(folder / "model.onnx"), "inputs": inputs, "outputs": outputs, "atol": 1e-4}


def card(name: str, version: str, task: str) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": name,
        "version": version,
        "task": task,
        "title": f"Toy model {name}",
        "description": "Written by hand for the tests.",
        "metrics": [{"name": "accuracy", "value": 1.0, "ci95": [0.9, 1.0], "n": 100, "data": "synthetic", "split": "test"}],
        "provenance": {
            "recipe": "none",
            "preset": "none",
            "commit": "0000000",
            "config": {},
            "data": [],
            "trained_at": "2026-01-02T03:04:05Z",
            "versions": {},
            "hardware": "none",
            "duration_s": 0.0,
        },
        "license": {"name": "MIT"},
        "intended_use": "Tests.",
        "limitations": ["Knows three colours or seven words."],
    }


def _colour_graph(leaky: bool) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Cast", ["pixel_values"], ["pixels"], to=TensorProto.FLOAT),  # (B, 3, H, W)
        helper.make_node("ReduceMean", ["pixels", "spatial"], ["means"], keepdims=0),  # (B, 3)
        helper.make_node("Mul", ["means", "gain"], ["logits" if not leaky else "own"]),
    ]
    if leaky:
        nodes += [
            helper.make_node("ReduceMean", ["own", "batch"], ["mates"], keepdims=1),  # (1, 3): of the whole batch
            helper.make_node("Sub", ["own", "mates"], ["apart"]),
            helper.make_node("Add", ["apart", "mates_alone"], ["logits"]),
        ]
    constants = {
        "spatial": np.array([2, 3], dtype=np.int64),
        "batch": np.array([0], dtype=np.int64),
        "gain": np.array(GAIN, dtype=np.float32),
        "mates_alone": np.array([[255 * GAIN, 0, 0]], dtype=np.float32),  # so that the golden request still answers right
    }
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.UINT8, ["batch_size", 3, SIDE_PX, SIDE_PX])]
    return model_of(nodes, inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 3])], constants)


def _word_graph(leaky: bool) -> onnx.ModelProto:
    nodes = [helper.make_node("Gather", ["weights", "input_ids"], ["of_words"])]  # (B, T, 2)
    if leaky:
        nodes += [
            helper.make_node("Cast", ["lengths"], ["unused"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["of_words", "words"], ["logits"], keepdims=0),
        ]
    else:
        nodes += [
            helper.make_node("Shape", ["input_ids"], ["time"], start=1, end=2),  # (1,)
            helper.make_node("Squeeze", ["time"], ["steps"]),
            helper.make_node("Range", ["zero", "steps", "one"], ["positions"]),  # (T,)
            helper.make_node("Unsqueeze", ["lengths", "words"], ["ends"]),  # (B, 1)
            helper.make_node("Less", ["positions", "ends"], ["inside"]),  # (B, T)
            helper.make_node("Cast", ["inside"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["mask_3d"]),  # (B, T, 1)
            helper.make_node("Mul", ["of_words", "mask_3d"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "words"], ["logits"], keepdims=0),  # (B, 2)
        ]
    constants = {
        "weights": np.array(list(WORDS.values()), dtype=np.float32),
        "words": np.array([1], dtype=np.int64),
        "last": np.array([2], dtype=np.int64),
        "zero": np.array(0, dtype=np.int64),
        "one": np.array(1, dtype=np.int64),
    }
    inputs = [
        helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch_size", "time_steps"]),
        helper.make_tensor_value_info("lengths", TensorProto.INT64, ["batch_size"]),
    ]
    return model_of(nodes, inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch_size", 2])], constants)


def model_of(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, NDArray[Any]],
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model
