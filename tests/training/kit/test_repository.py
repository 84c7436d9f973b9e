"""An export reaches the model repository whole, or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.contract.manifest import load_manifest
from app.errors import ModelRejected
from tests.model_repository import write_colour_model
from training.kit.repository import publish


def test_an_export_takes_the_place_of_the_model_that_was_there(tmp_path: Path) -> None:
    there = write_colour_model(tmp_path / "models", title="The old one")
    staged = write_colour_model(tmp_path / "export", title="The new one")
    assert publish(staged, tmp_path / "models") == there / "manifest.json"
    assert load_manifest(there).title == "The new one"
    assert not staged.exists()
    assert not list(there.rglob("*.partial"))


def test_an_export_that_is_not_whole_is_refused_and_the_model_stays(tmp_path: Path) -> None:
    there = write_colour_model(tmp_path / "models", title="The old one")
    staged = write_colour_model(tmp_path / "export", title="The new one")
    shutil.copyfile(staged / "manifest.json", staged / "model.onnx")
    with pytest.raises(ModelRejected, match=r"the sha256 of model\.onnx"):
        publish(staged, tmp_path / "models")
    assert load_manifest(there).title == "The old one"
