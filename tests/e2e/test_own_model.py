"""A classifier from elsewhere with the manifest that README shows: written by hand, checked, served."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.e2e.server import ROOT, environment, running_server
from tests.model_repository import encoded, model_of
from tests.runtime.conftest import Load, load

__all__ = ["load"]  # a fixture

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """README's manifest, and a graph that fits it: the darker a picture, the more it is a cat."""
    (block,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    manifest = json.loads(block)
    folder = tmp_path / "models" / manifest["name"] / manifest["version"]
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(block, encoding="utf-8")
    nodes = [
        helper.make_node("Cast", ["pixels"], ["numbers"], to=TensorProto.FLOAT),  # (B, 3, H, W)
        helper.make_node("ReduceMean", ["numbers", "axes"], ["brightness"], keepdims=0),  # (B,)
        helper.make_node("Sub", ["brightness", "middle"], ["dog_1d"]),
        helper.make_node("Unsqueeze", ["dog_1d", "last"], ["dog"]),  # (B, 1)
        helper.make_node("Neg", ["dog"], ["cat"]),
        helper.make_node("Concat", ["cat", "dog"], ["scores"], axis=1),  # (B, 2)
    ]
    constants = {
        "axes": np.array([1, 2, 3], dtype=np.int64),
        "middle": np.array(127.5, dtype=np.float32),
        "last": np.array([1], dtype=np.int64),
    }
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["batch_size", 3, 64, 64])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch_size", 2])]
    onnx.save(model_of(nodes, inputs, outputs, constants), folder / "model.onnx")
    return tmp_path / "models"


def grey(level: int) -> bytes:
    return encoded(Image.new("RGB", (80, 70), (level, level, level)))


def test_readmes_manifest_is_all_that_a_classifier_needs(models: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "check", str(models)]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment())
    assert (checked.returncode, checked.stdout) == (0, "animals/1  ready\n")
    with running_server(models, tmp_path / "log") as server:
        url, headers = f"{server.address}/v1/image-classification/animals", {"content-type": "image/png"}
        for level, label in ((10, "cat"), (240, "dog")):
            answer = httpx2.post(url, content=grey(level), headers=headers)
            assert answer.status_code == 200
            assert answer.json()["predictions"][0]["label"] == label
            assert (answer.json()["decision"], answer.json()["notice"]) == (None, None)
        card = httpx2.get(f"{server.address}/v1/models/animals").json()
        assert (card["title"], card["card"]["provenance"], card["card"]["metrics"]) == ("Cats and dogs", None, [])
        assert card["created"] > 1_700_000_000  # the manifest's time, for nobody knows when it was trained
        pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 3, 64, 64], "data": [255] * (3 * 64 * 64)}
        scores = httpx2.post(f"{server.address}/v2/models/animals/infer", json={"inputs": [pixels]}).json()["outputs"][0]
        assert (scores["name"], scores["data"]) == ("scores", [-127.5, 127.5])


def test_what_is_wrong_with_it_is_said_before_it_is_served(models: Path, load: Load) -> None:
    path = models / "animals" / "1" / "manifest.json"
    written = path.read_text(encoding="utf-8")
    for change, says in (
        (("64", "32"), "the manifest's inputs of model.onnx are"),
        (('"height": 64', '"height": 32'), "image-classification wants a graph from UINT8 [-1, 3, 32, 64]"),
        (('"pixels"', '"picture"'), "the manifest's inputs of model.onnx are"),
        ((', {"name": "dog", "title": "Dog"}', ""), "to the logits of its labels, FP32 [-1, 1]"),
        (('"task"', '"tasks"'), "the field task is missing; add it (and 1 more)"),
        (('"title": "Cats and dogs",', ""), "the field title is missing; add it"),
        (('"title": "Cats and dogs",', '"title": "Cats and dogs"'), "does not fit schema 1"),
        (('"graphs"', '"temperature": 0, "graphs"'), "temperature: "),
    ):
        path.write_text(written.replace(*change), encoding="utf-8")
        (status,) = load(models).statuses()
        assert (status.state, says in (status.reason or "")) == ("refused", True), (change, status.reason)
