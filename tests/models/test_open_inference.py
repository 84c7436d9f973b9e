"""The shipped models under /v2: the golden request, sent as BYTES, answers as it did at export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.contract.manifest import load_manifest
from tests.conftest import serve

MODELS = Path(__file__).parents[2] / "models"
JSON_BYTES = "Inference-Header-Content-Length"


@pytest.mark.parametrize(("name", "encoded"), [("skin-lesion", "image"), ("sentiment", "text")])
def test_the_golden_request_answers_as_at_export(name: str, encoded: str) -> None:
    directory = max((MODELS / name).iterdir(), key=lambda version: int(version.name))
    golden = load_manifest(directory).golden
    item = (directory / golden.request).read_bytes()
    blob = len(item).to_bytes(4, "little") + item
    tensor: dict[str, Any] = {"name": encoded, "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(blob)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    with serve(MODELS) as client:
        answer = infer(client, name, head, blob)
    expected = np.load(directory / golden.outputs)["logits"]
    assert np.array(answer["data"]).reshape(answer["shape"]) == pytest.approx(expected, abs=golden.atol)


def infer(client: TestClient, name: str, head: bytes, blob: bytes) -> dict[str, Any]:
    response = client.post(f"/v2/models/{name}/infer", content=head + blob, headers={JSON_BYTES: str(len(head))})
    assert response.status_code == 200, response.text
    output: dict[str, Any] = response.json()["outputs"][0]
    return output
