"""What the server says of a text is what the recipe says of it, and it writes what the recipe's samples are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from starlette.testclient import TestClient

pytest.importorskip("torch")

from app.contract.manifest import load_manifest
from tests.conftest import serve
from training.kit.export import open_session
from training.kit.run import Run
from training.recipes.char_lm.config import Config
from training.recipes.char_lm.data import load
from training.recipes.char_lm.scoring import carried, served

NAME = "char-lm-tiny"


@pytest.fixture(scope="module")
def client(finished_run: Run[Config]) -> Iterator[TestClient]:
    with serve(finished_run.models) as client:
        yield client


def test_a_scored_text_has_the_recipes_nats_per_character(client: TestClient, finished_run: Run[Config]) -> None:
    text = load(finished_run).part("validation")[:3000]
    fields = {"model": NAME, "prompt": text, "echo": True, "max_tokens": 0, "logprobs": 0}
    logprobs = client.post("/v1/completions", json=fields).json()["choices"][0]["logprobs"]["token_logprobs"]
    nats = carried(served(open_session(finished_run.models / NAME / "1" / "model.onnx")), load(finished_run).ids("validation")[: len(text)])
    assert logprobs[0] is None
    np.testing.assert_allclose(-np.array(logprobs[1:]), nats, atol=1e-6)


def test_the_temperature_of_the_card_is_the_default(client: TestClient, finished_run: Run[Config]) -> None:
    temperature = load_manifest(finished_run.models / NAME / "1").defaults["temperature"]
    url, fields = f"/v1/text-generation/{NAME}", {"seed": 1, "max_tokens": 100}
    by_default = client.post(url, json=fields).json()["text"]
    assert by_default == client.post(url, json=fields | {"temperature": temperature}).json()["text"]
    assert by_default != client.post(url, json=fields | {"temperature": 2.0}).json()["text"]
