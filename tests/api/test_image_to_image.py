"""`POST /v1/image-to-image/{model}`, on models whose every pixel is known."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx2 import Response
from numpy.typing import NDArray
from PIL import Image
from starlette.testclient import TestClient

from tests.api.error_shape import assert_refused
from tests.api.metrics_page import metric
from tests.conftest import serve
from tests.contract.test_photographs import swapped_profile
from tests.drawing_models import (
    MAX_SIDE_PX,
    scene,
    scene_png,
    tinted,
    write_plain_drawing_model,
    write_tinting_model,
    write_turning_model,
)
from tests.model_repository import encoded

TINTS, TURNS, NEGATIVES = (f"/v1/image-to-image/{name}" for name in ("tints", "turns", "negatives"))


@pytest.fixture(scope="module")
def drawers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_tinting_model(root, notice="A toy.")
    write_turning_model(root)
    write_plain_drawing_model(root)
    return root


@pytest.fixture(scope="module")
def client(drawers: Path) -> Iterator[TestClient]:
    with serve(drawers, max_body_bytes=2_000_000) as client:
        yield client


def send_raw(client: TestClient, data: bytes, options: dict[str, Any] | None = None, url: str = TINTS, **headers: str) -> Response:
    return client.post(url, content=data, headers={"content-type": "image/png"} | headers, params=options)


def send_form(client: TestClient, data: bytes, options: dict[str, Any] | None = None, url: str = TINTS, **headers: str) -> Response:
    fields = {name: str(value) for name, value in (options or {}).items()}
    return client.post(url, files={"image": ("picture.png", data, "image/png")}, data=fields, headers=headers)


def send_json(client: TestClient, data: bytes, options: dict[str, Any] | None = None, url: str = TINTS, **headers: str) -> Response:
    return client.post(url, json={"image": base64.b64encode(data).decode(), **(options or {})}, headers=headers)


FORMS = [send_raw, send_form, send_json]


def drawing(response: Response) -> NDArray[np.uint8]:
    assert response.status_code == 200, response.text
    return np.asarray(Image.open(io.BytesIO(response.content)))


def largest_difference(response: Response, expected: NDArray[np.uint8]) -> int:
    return int(np.abs(drawing(response).astype(int) - expected).max())


@pytest.mark.parametrize("send", FORMS)
@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, {"rose": 1}),
        ({"style": "moss"}, {"moss": 1}),
        ({"style": "none"}, {"none": 1}),
        ({"styles": "rose:3,moss:1"}, {"rose": 0.75, "moss": 0.25}),
        ({"style": "moss", "strength": 0.5}, {"moss": 0.5, "none": 0.5}),
        ({"style": "moss", "strength": 0}, {"none": 1}),
    ],
)
def test_the_picture_is_drawn_as_it_was_asked_for(
    client: TestClient, send: Any, options: dict[str, Any], weights: dict[str, float]
) -> None:
    response = send(client, scene_png(321, 257), options)
    assert drawing(response).shape == (257, 321, 3)
    assert largest_difference(response, tinted(scene(321, 257), **weights)) <= 1  # half a step is rounded either way


def test_strength_0_gives_the_picture_back_to_the_bit(client: TestClient) -> None:
    assert (drawing(send_raw(client, scene_png(), {"strength": 0})) == scene(64, 48)).all()


@pytest.mark.parametrize("send", FORMS)
def test_a_direction_chooses_the_branch(client: TestClient, send: Any) -> None:
    assert largest_difference(send(client, scene_png(), {}, TURNS), 255 - scene(64, 48)) <= 1
    assert (drawing(send(client, scene_png(), {"direction": "red-to-blue"}, TURNS)) == scene(64, 48)[:, :, ::-1]).all()


def test_a_model_without_choices_draws(client: TestClient) -> None:
    assert largest_difference(send_raw(client, scene_png(), {}, NEGATIVES), 255 - scene(64, 48)) <= 1


def test_a_mix_may_be_an_object_in_json(client: TestClient) -> None:
    response = send_json(client, scene_png(), {"styles": {"rose": 3, "moss": 1}})
    assert largest_difference(response, tinted(scene(64, 48), rose=0.75, moss=0.25)) <= 1


def test_the_headers_say_what_was_done(client: TestClient) -> None:
    headers = send_raw(client, scene_png(800, 600), {"styles": "rose:3,moss:1", "strength": 0.5}).headers
    assert (headers["content-type"], headers["vary"]) == ("image/png", "Accept")
    assert (headers["x-model"], headers["x-image-size"]) == ("tints/1", "400x300")
    assert json.loads(headers["x-options"]) == {
        "styles": {"rose": 0.75, "moss": 0.25},
        "strength": 0.5,
        "preserve_colour": False,
        "max_side_px": MAX_SIDE_PX,
    }
    stages = dict(stage.split(";dur=") for stage in headers["server-timing"].split(", "))
    assert float(stages["total"]) >= float(stages["infer"]) > 0


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "image/webp"])
def test_the_answer_comes_in_the_form_that_accept_likes_best(client: TestClient, media_type: str) -> None:
    response = send_raw(client, scene_png(), accept=f"text/html, image/*;q=0.1, {media_type}")
    assert response.headers["content-type"] == media_type
    assert Image.open(io.BytesIO(response.content)).get_format_mimetype() == media_type
    assert np.abs(drawing(response).astype(int) - tinted(scene(64, 48), rose=1)).mean() < 6


@pytest.mark.parametrize("send", FORMS)
def test_json_carries_the_picture_and_what_was_done(client: TestClient, send: Any) -> None:
    answer = send(client, scene_png(321, 257), {"style": "moss"}, accept="application/json").json()
    image = answer.pop("image")
    assert answer.pop("timing_ms")["total"] > 0
    assert answer == {
        "model": {"name": "tints", "version": "1"},
        "media_type": "image/png",
        "width": 321,
        "height": 257,
        "options": {"style": "moss", "strength": 1.0, "preserve_colour": False, "max_side_px": MAX_SIDE_PX},
        "notice": "A toy.",
    }
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(image))))
    assert np.abs(pixels.astype(int) - tinted(scene(321, 257), moss=1)).max() <= 1


@pytest.mark.parametrize("accept", ["text/html", "image/avif", "image/*;q=0, application/json;q=0"])
def test_a_form_that_there_is_not_is_refused_with_those_that_there_are(client: TestClient, accept: str) -> None:
    response = send_raw(client, scene_png(), accept=accept)
    assert_refused(response, 406, "not_acceptable", says="may be image/png, image/jpeg, image/webp or application/json")


@pytest.mark.parametrize("send", FORMS)
@pytest.mark.parametrize(
    ("url", "options", "param", "says"),
    [
        (TINTS, {"style": "oil"}, "style", "available: rose, moss, none"),
        (TINTS, {"styles": "oil:1"}, "styles", "available: rose, moss, none"),
        (TINTS, {"styles": "rose"}, "styles", "such as rose:0.7,moss:0.3"),
        (TINTS, {"styles": "rose:0"}, "styles", "a finite sum above 0"),
        (TINTS, {"styles": "rose:-1"}, "styles", "at least 0"),
        (TINTS, {"styles": "rose:nan"}, "styles", "such as"),
        (TINTS, {"style": "rose", "styles": "rose:1"}, "styles", "not both"),
        (TINTS, {"strength": 1.5}, "strength", "at most 1"),
        (TINTS, {"strength": "nan"}, "strength", "finite"),
        (TINTS, {"preserve_colour": "perhaps"}, "preserve_colour", "true or false"),
        (TINTS, {"max_side_px": 15}, "max_side_px", "between 16 and 400"),
        (TINTS, {"max_side_px": 401}, "max_side_px", "between 16 and 400"),
        (TINTS, {"direction": "red-to-blue"}, "direction", "there are: style, styles, strength"),
        (TURNS, {"direction": "zebra"}, "direction", "available: photo-to-negative, red-to-blue"),
        (TURNS, {"directions": "red-to-blue:1"}, "directions", "cannot be mixed"),
        (TURNS, {"strength": 0.5}, "strength", "no neutral direction"),
        (NEGATIVES, {"style": "rose"}, "style", "there are: preserve_colour, max_side_px"),
    ],
)
def test_a_wrong_option_is_refused_by_name(client: TestClient, send: Any, url: str, options: dict[str, Any], param: str, says: str) -> None:
    assert_refused(send(client, scene_png(), options, url), 422, "invalid_option", param=param, says=says)


def test_a_side_that_the_option_makes_too_short_is_the_options_fault(client: TestClient) -> None:
    refused = send_raw(client, scene_png(100, 60), {"max_side_px": 20})
    assert_refused(refused, 422, "invalid_option", param="max_side_px", says="it would be 20 x 12 px; each side needs at least 16")


def test_a_null_is_an_option_that_was_left_out(client: TestClient) -> None:
    body = {"image": base64.b64encode(scene_png()).decode(), "style": "moss"}
    left_out = client.post(TINTS, json=body)
    nulls = client.post(TINTS, json=body | {"preserve_colour": None, "strength": None, "styles": None})
    assert (nulls.status_code, nulls.headers["x-options"]) == (200, left_out.headers["x-options"])


def test_options_of_the_body_and_of_the_query_belong_together(client: TestClient) -> None:
    body = {"image": base64.b64encode(scene_png()).decode(), "strength": 0}
    response = client.post(TINTS, json=body, params={"style": "moss"})
    assert json.loads(response.headers["x-options"]) == {
        "style": "moss",
        "strength": 0.0,
        "preserve_colour": False,
        "max_side_px": MAX_SIDE_PX,
    }
    assert_refused(client.post(TINTS, json=body | {"styles": "rose:1"}, params={"style": "moss"}), 422, "invalid_option", param="styles")
    twice = client.post(TINTS, json=body, params={"strength": 1})
    assert_refused(twice, 422, "invalid_option", param="strength", says="given twice")


@pytest.mark.parametrize(
    ("size", "shape"), [((321, 257), (257, 321)), ((400, 16), (16, 400)), ((401, 300), (299, 400)), ((600, 1200), (400, 200))]
)
def test_the_answer_is_as_large_as_the_picture_up_to_the_models_limit(
    client: TestClient, size: tuple[int, int], shape: tuple[int, int]
) -> None:
    assert drawing(send_raw(client, scene_png(*size))).shape[:2] == shape


def test_a_client_may_ask_for_a_smaller_answer(client: TestClient) -> None:
    assert drawing(send_raw(client, scene_png(320, 240), {"max_side_px": 64})).shape == (48, 64, 3)


def test_the_picture_is_turned_laid_over_white_and_made_srgb(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right
    turned = Image.fromarray(scene(64, 48)).transpose(Image.Transpose.ROTATE_90)
    assert (drawing(send_raw(client, encoded(turned, exif=exif), {"strength": 0})) == scene(64, 48)).all()
    glass = encoded(Image.new("RGBA", (32, 32), (255, 0, 0, 0)))
    assert (drawing(send_raw(client, glass, {"strength": 0})) == 255).all()
    red = encoded(Image.new("RGB", (32, 32), (255, 0, 0)), icc_profile=swapped_profile())
    assert drawing(send_raw(client, red, {"strength": 0}))[0, 0, 2] > 200


def test_pictures_that_cannot_be_drawn_are_refused(client: TestClient) -> None:
    dot = encoded(Image.new("RGB", (1, 1)))
    assert_refused(send_raw(client, dot), 400, "undecodable_image", param="image", says="it is 1 x 1 px; each side needs at least 16")
    needle = encoded(Image.new("RGB", (4000, 40)))
    assert_refused(send_raw(client, needle), 400, "undecodable_image", param="image", says="400 x 4 once its longer side is 400")
    assert_refused(send_raw(client, b"rubbish"), 400, "undecodable_image", param="image")
    assert_refused(send_raw(client, b""), 400, "bad_request", param="image", says="empty")
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    animation = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    assert_refused(send_raw(client, animation), 415, "unsupported_media_type", param="image", says="send one frame")
    assert_refused(send_raw(client, b"GIF89a" + b"\0" * 20), 415, "unsupported_media_type", param="image", says="GIF")
    assert_refused(client.post(TINTS, content=b"x", headers={"content-type": "text/plain"}), 415, "unsupported_media_type")
    assert_refused(send_raw(client, b"\x89PNG" + b"\0" * 2_000_000), 413, "input_too_large", says="2,000,000 bytes")
    wide = encoded(Image.new("1", (8000, 5001)))
    assert_refused(send_raw(client, wide), 413, "input_too_large", param="image", says="8000 x 5001 px")


def test_the_card_shows_the_choices(client: TestClient) -> None:
    card = client.get("/v1/models/turns").json()["card"]
    assert card["condition"]["option"] == "direction"
    assert [choice["name"] for choice in card["condition"]["choices"]] == ["photo-to-negative", "red-to-blue"]
    assert card["processor"] == {"type": "photograph", "max_side_px": MAX_SIDE_PX, "min_side_px": 16}
    assert client.get("/v1/models/negatives").json()["card"]["condition"] is None


def test_an_unknown_model_is_refused_with_those_of_the_task(client: TestClient) -> None:
    response = send_raw(client, scene_png(), url="/v1/image-to-image/absent")
    assert_refused(response, 404, "model_not_found", param="model", says="available: negatives, tints, turns")


def test_many_clients_at_once_each_get_their_own_picture(client: TestClient) -> None:
    """Of several sizes, styles and directions, so that batches are mixed where they may be."""

    def difference(number: int) -> int:
        size, seed = [(64, 48), (48, 64), (65, 47)][number % 3], number
        png = scene_png(*size, seed=seed)
        if number % 2:
            weight = number % 5 / 4
            response = send_raw(client, png, {"styles": f"rose:{weight},moss:{1 - weight}"})
            return largest_difference(response, tinted(scene(*size, seed=seed), rose=weight, moss=1 - weight))
        if number % 4:
            return largest_difference(send_raw(client, png, {}, TURNS), 255 - scene(*size, seed=seed))
        return largest_difference(send_raw(client, png, {"direction": "red-to-blue"}, TURNS), scene(*size, seed=seed)[:, :, ::-1])

    with ThreadPoolExecutor(12) as clients:
        assert max(clients.map(difference, range(60))) <= 1


def test_a_deadline_that_passes_is_a_504_and_what_waited_never_runs(tmp_path: Path) -> None:
    write_tinting_model(tmp_path, slow=True)
    with serve(tmp_path, cores=1) as client, ThreadPoolExecutor(4) as clients:
        busy = clients.submit(send_raw, client, scene_png(MAX_SIDE_PX, MAX_SIDE_PX))
        while metric(client, 'axon_pending_requests{model="tints"') < 1:
            time.sleep(0.001)
        late = send_raw(client, scene_png(MAX_SIDE_PX, MAX_SIDE_PX), **{"x-request-timeout-ms": "20"})
        assert_refused(late, 504, "deadline_exceeded")
        assert busy.result().status_code == 200
        assert metric(client, 'axon_inference_request_failure_total{model="tints",reason="timeout"') == 1
        assert metric(client, 'axon_inference_count_total{model="tints"') == 1
