"""Bodies and options at random: whatever comes, the answer is ours and never a 500. The seed makes a failure repeat."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.tasks.text_generation.schemas import CompletionRequest
from tests.conftest import serve
from tests.drawing_models import scene_png, write_tinting_model, write_turning_model
from tests.model_repository import picture

IMAGES, TEXTS = "/v1/image-classification/colours", "/v1/text-classification/words"
WRITERS = ("/v1/text-generation/sums", "/v1/completions")
ROUNDS = 60

JSON_PIECES = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b'"text"',
    b'"image"',
    b"null",
    b"1e999",
    rb"\ud800",
    b"\0",
    b"\xff",
    b'"threshold"',
]
FORM_PIECES = [
    b"--x\r\n",
    b"--x--\r\n",
    b'Content-Disposition: form-data; name="image"; filename="a"\r\n',
    b"Content-Disposition: form-data; name*=utf-8''%ff\r\n",
    b'Content-Disposition: form-data; name="threshold"\r\n',
    b"Content-Type: text/plain; charset=absent\r\n",
    b"Content-Disposition: \r\n",
    b"\r\n",
    b"\xff\xfe",
    picture(),
]
CONTENT_TYPES = [
    "application/json",
    "multipart/form-data; boundary=x",
    "multipart/form-data; boundary=",
    'multipart/form-data; boundary="',
    "multipart/form-data; charset=utf-16; boundary=x",
    "image/png",
    "image/jpeg;x",
]
NAMES = [
    "target",
    "operating_point",
    "threshold",
    "min_sensitivity",
    "false_negative_cost",
    "top_k",
    "augment",
    "image",
    "text",
    "explain",
    "x",
    "",
]
STRINGS = ["", "0", "1", "-1", "nan", "1e400", "0x1", "true", "null", "\0", "\N{GRINNING FACE}", "a" * 3000, "1_000", "reddish", "balanced"]
VALUES: list[Any] = [None, True, [], {}, 1e308, -1, 0.5, "", "x", "\0", [[]], {"a": 1}, 10**400, 2**63, "reddish"]


def assert_sane(response: Response) -> None:
    assert response.status_code < 500, response.text[:1000]
    if response.status_code != 200:
        assert set(response.json()) == {"error"}, response.text


@pytest.mark.parametrize("seed", range(3))
def test_random_bodies_never_break_the_server(client: TestClient, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        content_type = dice.choice(CONTENT_TYPES)
        pieces = JSON_PIECES if "json" in content_type else FORM_PIECES
        body = b"".join(dice.choices(pieces, k=dice.randint(0, 14))) + dice.choice([b"", b"\r\n--x--", b"--"])
        for url in (IMAGES, TEXTS):
            assert_sane(client.post(url, content=body, headers={"content-type": content_type}))


@pytest.mark.parametrize("seed", range(3))
def test_random_options_never_break_the_server(client: TestClient, seed: int) -> None:
    dice = random.Random(seed)
    image = base64.b64encode(picture()).decode()
    for _ in range(ROUNDS):
        query = [(dice.choice(NAMES), dice.choice(STRINGS)) for _ in range(dice.randint(0, 4))]
        fields = {"image": image} | {dice.choice(NAMES): dice.choice(VALUES) for _ in range(dice.randint(0, 4))}
        assert_sane(client.post(IMAGES, params=query, content=picture(), headers={"content-type": "image/png"}))
        assert_sane(client.post(IMAGES, data={name: value for name, value in query if name}, files={"image": picture()}))
        assert_sane(client.get(f"{IMAGES}/roc", params=query))
        for url in (IMAGES, TEXTS):
            assert_sane(client.post(url, content=json.dumps(fields), headers={"content-type": "application/json"}))


@pytest.mark.parametrize(
    "path", ["/%00", "//", "/v1/models/%00", "/v1/models/%ed%a0%80", "/static-offline-docs/%00", "/static-offline-docs/..%2f..%2fx"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "TRACE", "ODD"])
def test_odd_paths_and_methods_never_break_the_server(client: TestClient, method: str, path: str) -> None:
    assert_sane(client.request(method, path))


@pytest.fixture(scope="module")
def writer(character_models: Path) -> Iterator[TestClient]:
    with serve(character_models) as client:
        yield client


@pytest.mark.parametrize("seed", range(3))
def test_random_requests_for_a_text_never_break_the_server(writer: TestClient, seed: int) -> None:
    dice = random.Random(seed)
    names = [*CompletionRequest.model_fields, "x", ""]
    values = [*VALUES, 0, 1, 5, "a", ["a"], [1], [[1]], {"1": 2}, {"include_usage": True}]
    for _ in range(ROUNDS):
        fields = {"model": "sums", "prompt": "a"} | {dice.choice(names): dice.choice(values) for _ in range(dice.randint(0, 3))}
        pieces = b"".join(dice.choices(JSON_PIECES, k=dice.randint(0, 14)))
        for url in WRITERS:
            response = writer.post(url, content=json.dumps(fields), headers={"content-type": "application/json"})
            if not response.headers["content-type"].startswith("text/event-stream"):
                assert_sane(response)
            assert_sane(writer.post(url, content=pieces, headers={"content-type": "application/json"}))


@pytest.fixture(scope="module")
def drawer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("models")
    write_tinting_model(root)
    write_turning_model(root)
    with serve(root) as client:
        yield client


@pytest.mark.parametrize("seed", range(3))
def test_random_orders_of_a_drawing_never_break_the_server(drawer: TestClient, seed: int) -> None:
    dice = random.Random(seed)
    names = ["style", "styles", "direction", "directions", "strength", "preserve_colour", "max_side_px", "image", "x", ""]
    strings = [
        *STRINGS,
        "rose",
        "rose:1",
        "rose:1,moss:",
        ":",
        ",",
        "rose:1e308,moss:1e308",
        "rose:" + "9" * 400,
        "red-to-blue",
        "16",
        "400",
    ]
    values = [*VALUES, 16, 400, "rose", "rose:0.5,moss:1", {"rose": 1}, {"rose": -1}, {"rose": [1]}, {"rose": 10**400}, "red-to-blue"]
    accepts = ["", "*/*", "image/webp;q=0", "application/json", "\xff;;=,", "image/" + "*" * 3000, ",".join(["a/b;q=0.5"] * 500), "q=1"]
    image = base64.b64encode(scene_png()).decode()
    for _ in range(ROUNDS):
        url = dice.choice(["/v1/image-to-image/tints", "/v1/image-to-image/turns"])
        headers = {"accept": dice.choice(accepts).encode("latin-1"), "content-type": b"image/png"}
        query = [(dice.choice(names), dice.choice(strings)) for _ in range(dice.randint(0, 3))]
        fields = {"image": image} | {dice.choice(names): dice.choice(values) for _ in range(dice.randint(0, 3))}
        assert_sane(drawer.post(url, params=query, content=scene_png(), headers=headers))
        assert_sane(drawer.post(url, content=json.dumps(fields), headers=headers | {"content-type": b"application/json"}))
