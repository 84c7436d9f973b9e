"""Models that draw under /v2: pixels with the weights of the choices, or whole pictures with the default choice."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from httpx2 import Response
from numpy.typing import NDArray
from starlette.testclient import TestClient

from tests.api.open_inference.requests import JSON_BYTES, assert_refused, send_binary, tensor
from tests.conftest import serve
from tests.drawing_models import scene, scene_png, tinted, write_plain_drawing_model, write_tinting_model, write_turning_model

TINTS, TURNS, NEGATIVES = (f"/v2/models/{name}/infer" for name in ("tints", "turns", "negatives"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    root = tmp_path_factory.mktemp("models")
    write_tinting_model(root)
    write_turning_model(root)
    write_plain_drawing_model(root)
    with serve(root) as client:
        yield client


def rows(*pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) each to (B, 3, H, W)."""
    return np.stack([picture.transpose(2, 0, 1) for picture in pictures])


def send_pixels(client: TestClient, url: str, pixels: NDArray[np.uint8], *conditions: list[float]) -> Response:
    """Both tensors as bytes, the answer as bytes."""
    weights = np.array(conditions, np.float32)
    inputs = [
        {"name": "pixel_values", "datatype": "UINT8", "shape": list(pixels.shape), "parameters": {"binary_data_size": pixels.nbytes}},
        {"name": "condition", "datatype": "FP32", "shape": list(weights.shape), "parameters": {"binary_data_size": weights.nbytes}},
    ]
    return send_binary(client, url, {"inputs": inputs, "parameters": {"binary_data_output": True}}, pixels.tobytes(), weights.tobytes())


def send_pictures(client: TestClient, url: str, *pictures: bytes) -> Response:
    blob = b"".join(len(data).to_bytes(4, "little") + data for data in pictures)
    entry = {"name": "image", "datatype": "BYTES", "shape": [len(pictures)], "parameters": {"binary_data_size": len(blob)}}
    return send_binary(client, url, {"inputs": [entry], "parameters": {"binary_data_output": True}}, blob)


def drawings(response: Response) -> NDArray[np.uint8]:
    """(B, H, W, 3)"""
    assert response.status_code == 200, response.text
    head, blob = response.content[: (size := int(response.headers[JSON_BYTES]))], response.content[size:]
    (output,) = json.loads(head)["outputs"]
    assert (output["name"], output["datatype"]) == ("reconstruction", "FP32")
    values = np.frombuffer(blob, "<f4").reshape(output["shape"])
    return np.rint(values * 255).astype(np.uint8).transpose(0, 2, 3, 1)


def differ_by(drawn: NDArray[np.uint8], expected: NDArray[np.uint8]) -> int:
    return int(np.abs(drawn.astype(int) - expected).max())


def test_pixels_are_drawn_by_their_own_weights(client: TestClient) -> None:
    first, second = scene(321, 257), scene(321, 257, seed=2)
    drawn = drawings(send_pixels(client, TINTS, rows(first, second), [0, 1, 0], [0.5, 0.5, 0]))
    assert differ_by(drawn[0], tinted(first, moss=1)) <= 1
    assert differ_by(drawn[1], tinted(second, rose=0.5, moss=0.5)) <= 1


def test_rows_of_different_directions_are_run_apart(client: TestClient) -> None:
    picture = scene(40, 30)
    drawn = drawings(send_pixels(client, TURNS, rows(*[picture] * 4), [1, 0], [0, 1], [1, 0], [0, 1]))
    for index in (0, 2):
        assert differ_by(drawn[index], 255 - picture) <= 1
        assert differ_by(drawn[index + 1], picture[:, :, ::-1]) <= 1


@pytest.mark.parametrize("size", [(17, 16), (150, 110)])  # few numbers, and more than are written in one piece
def test_tensors_may_come_as_json(client: TestClient, size: tuple[int, int]) -> None:
    picture = scene(*size)
    inputs = [tensor("pixel_values", "UINT8", rows(picture)), tensor("condition", "FP32", np.array([[0, 0, 1]], np.float32))]
    (output,) = client.post(TINTS, json={"inputs": inputs}).json()["outputs"]
    assert output["shape"] == [1, 3, *reversed(size)]
    assert np.array(output["data"]) == pytest.approx(rows(picture).ravel() / 255, abs=1e-6)


@pytest.mark.parametrize(
    ("url", "expected"), [(TINTS, tinted(scene(64, 48), rose=1)), (TURNS, 255 - scene(64, 48)), (NEGATIVES, 255 - scene(64, 48))]
)
def test_whole_pictures_are_drawn_by_the_default_choice(client: TestClient, url: str, expected: NDArray[np.uint8]) -> None:
    for drawn in drawings(send_pictures(client, url, scene_png(), scene_png())):
        assert differ_by(drawn, expected) <= 1


def test_a_large_picture_is_shrunk_as_v1_does(client: TestClient) -> None:
    assert drawings(send_pictures(client, TINTS, scene_png(800, 600))).shape == (1, 300, 400, 3)


def test_what_the_graph_has_no_answer_to_is_refused(client: TestClient) -> None:
    small, wide, fitting = (np.zeros((1, 3, *sides), np.uint8) for sides in ((15, 40), (16, 401), (16, 16)))
    assert_refused(send_pixels(client, TINTS, small, [1, 0, 0]), 400, "each side needs at least 16")
    assert_refused(send_pixels(client, TINTS, wide, [1, 0, 0]), 413, "each side may have at most 400")
    assert_refused(send_pixels(client, TINTS, fitting, [1, 0]), 400, "the input 'condition' has the shape [-1, 3]")
    assert_refused(send_pixels(client, TINTS, fitting, [1, 0, 0], [1, 0, 0]), 400, "pixel_values has 1 rows, condition has 2")
    assert_refused(send_pixels(client, TINTS, fitting, [1, float("nan"), 0]), 400, "finite numbers")
    assert_refused(send_pixels(client, TURNS, fitting, [0.5, 0.5]), 400, "a single 1 and else 0")
    assert_refused(client.post(TINTS, json={"inputs": [tensor("pixel_values", "UINT8", fitting)]}), 400, "the input 'condition' is missing")
    assert_refused(send_pictures(client, TINTS, scene_png(20, 20), scene_png(21, 20)), 400, "must be of one size")
    files = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["aGVsbG8="]}
    assert_refused(client.post(TINTS, json={"inputs": [files]}), 400, "send them as binary data, with binary_data_size")
    both = {"inputs": [files, tensor("condition", "FP32", np.array([[0, 0, 1]], np.float32))]}
    assert_refused(client.post(TINTS, json=both), 400, "give either image, or pixel_values and condition, not both")
    assert_refused(send_pixels(client, TINTS, fitting, [2, 0, 0]), 400, "sum to 1")
    assert_refused(send_pictures(client, TINTS, b"rubbish"), 400, "the image cannot be decoded")


def test_no_rows_are_no_drawings(client: TestClient) -> None:
    inputs = [
        tensor("pixel_values", "UINT8", np.zeros((0, 3, 16, 16), np.uint8)),
        tensor("condition", "FP32", np.zeros((0, 3), np.float32)),
    ]
    (output,) = client.post(TINTS, json={"inputs": inputs}).json()["outputs"]
    assert output["data"] == []


def test_metadata_and_configuration_name_both_inputs(client: TestClient) -> None:
    assert client.get("/v2/models/tints").json()["inputs"] == [
        {"name": "pixel_values", "datatype": "UINT8", "shape": [-1, 3, -1, -1]},
        {"name": "condition", "datatype": "FP32", "shape": [-1, 3]},
    ]
    configuration = client.get("/v2/models/tints/config").json()
    assert [entry["dims"] for entry in configuration["input"]] == [[3, -1, -1], [3]]
    assert configuration["parameters"] == {"encoded_input": {"string_value": "image"}}
