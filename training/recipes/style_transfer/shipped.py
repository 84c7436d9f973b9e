"""The exported model as a finished run: whoever has no run of their own adds a style to what ships."""

from __future__ import annotations

from typing import Any

import onnx
import torch
from onnx import numpy_helper

from app.contract.manifest import ModelManifest, load_manifest
from app.errors import ModelRejected
from training.kit.config import config_dict
from training.kit.run import Run
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import choice_name

VERSION = "1"


def read_exported(run: Run[Config]) -> dict[str, Any] | None:
    """What `checkpoint.pt` would hold, but for what only training needs; None where no model of this preset's settings is exported."""
    folder = run.models / run.recipe / VERSION
    try:
        manifest = load_manifest(folder)
    except ModelRejected:
        return None
    if not _is_of(manifest, run):
        return None
    tensors = onnx.load(folder / manifest.graphs["model"].file).graph.initializer
    weights = {tensor.name.removesuffix("_half"): torch.from_numpy(numpy_helper.to_array(tensor).copy()).float() for tensor in tensors}
    assert manifest.provenance is not None
    return {
        "average": {name.replace("network.", "module."): value for name, value in weights.items() if name.startswith("network.")},
        "epoch": run.config.epochs,
        "trained_at": manifest.provenance.trained_at.timestamp(),
        "duration_s": manifest.provenance.duration_s,
        "config": manifest.provenance.config,
        "origin": manifest.provenance.model_dump(include={"commit", "versions", "hardware"}),  # there is no log that tells
    }


def _is_of(manifest: ModelManifest, run: Run[Config]) -> bool:
    """Of this recipe and network, and with the preset's paintings alone: rows that were added since are another run's."""
    if manifest.provenance is None or manifest.condition is None or manifest.provenance.recipe != run.recipe:
        return False
    styles = [choice.name for choice in manifest.condition.choices[:-1]]
    same_net = manifest.provenance.config.get("net") == config_dict(run.config)["net"]
    return same_net and styles == [choice_name(painting) for painting in run.config.paintings]
