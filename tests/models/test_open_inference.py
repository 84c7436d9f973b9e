"""The shipped models under /v2: the golden request, sent as BYTES, answers as it did at export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.contract.manifest import ModelManifest, load_manifest
from tests.conftest import serve

MODELS = Path(__file__).parents[2] / "models"
JSON_BYTES = "Inference-Header-Content-Length"
ENCODED = {"image": "image", "photograph": "image", "text": "text"}  # a processor's type -> the input that takes whole items


def manifests() -> list[ModelManifest]:
    """Of the newest version of each model that takes whole pictures or texts."""
    newest = [max(folder.iterdir(), key=lambda version: int(version.name)) for folder in sorted(MODELS.iterdir()) if folder.is_dir()]
    return [manifest for manifest in map(load_manifest, newest) if manifest.processor.type in ENCODED]


@pytest.mark.parametrize("manifest", manifests(), ids=lambda manifest: manifest.name)
def test_the_golden_request_answers_as_at_export(manifest: ModelManifest) -> None:
    directory, golden = MODELS / manifest.name / manifest.version, manifest.golden
    item = (directory / golden.request).read_bytes()
    blob = len(item).to_bytes(4, "little") + item
    tensor: dict[str, Any] = {
        "name": ENCODED[manifest.processor.type],
        "datatype": "BYTES",
        "shape": [1],
        "parameters": {"binary_data_size": len(blob)},
    }
    head = json.dumps({"inputs": [tensor]}).encode()
    with serve(MODELS) as client:
        answer = infer(client, manifest.name, head, blob)
    expected = np.load(directory / golden.outputs)[manifest.graphs["model"].outputs[0].name]
    assert np.array(answer["data"]).reshape(answer["shape"]) == pytest.approx(expected, abs=golden.atol)


def infer(client: TestClient, name: str, head: bytes, blob: bytes) -> dict[str, Any]:
    response = client.post(f"/v2/models/{name}/infer", content=head + blob, headers={JSON_BYTES: str(len(head))})
    assert response.status_code == 200, response.text
    output: dict[str, Any] = response.json()["outputs"][0]
    return output
