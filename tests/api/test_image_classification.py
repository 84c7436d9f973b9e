"""`POST /v1/image-classification/{model}` and its ROC curve, on a model whose answers are known."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from PIL import Image
from starlette.testclient import TestClient

from tests.api.error_shape import assert_refused
from tests.api.metrics_page import metric
from tests.conftest import serve
from tests.model_repository import GAIN, encoded, picture, target, write_colour_model

URL = "/v1/image-classification/colours"
P_RED = math.exp(255 * GAIN) / (math.exp(255 * GAIN) + 2)  # of the label red on a plain red picture


def send_raw(client: TestClient, data: bytes, options: dict[str, Any] | None = None) -> Response:
    return client.post(URL, content=data, headers={"content-type": "image/png"}, params=options)


def send_form(client: TestClient, data: bytes, options: dict[str, Any] | None = None) -> Response:
    fields = {name: str(value) for name, value in (options or {}).items()}
    return client.post(URL, files={"image": ("picture.png", data, "image/png")}, data=fields)


def send_json(client: TestClient, data: bytes, options: dict[str, Any] | None = None) -> Response:
    return client.post(URL, json={"image": base64.b64encode(data).decode(), **(options or {})})


FORMS = [send_raw, send_form, send_json]


@pytest.mark.parametrize("send", FORMS)
@pytest.mark.parametrize("colour", ["red", "green", "blue"])
def test_each_form_of_the_picture_gets_the_same_right_answer(client: TestClient, send: Any, colour: str) -> None:
    response = send(client, picture(colour))
    assert response.status_code == 200, response.text
    first = response.json()["predictions"][0]
    assert (first["label"], first["title"]) == (colour, colour.title())
    assert first["probability"] == pytest.approx(P_RED, abs=1e-6)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP"])
def test_jpeg_png_and_webp_are_read(client: TestClient, image_format: str) -> None:
    response = client.post(
        URL, content=picture("green", image_format=image_format), headers={"content-type": f"image/{image_format.lower()}"}
    )
    assert response.json()["predictions"][0]["label"] == "green"


@pytest.mark.parametrize(("again", "param"), [({"threshold": ["0.1", "0.9"]}, "threshold"), ({"image": "x"}, "image")])
def test_a_field_that_comes_twice_in_a_form_is_refused(client: TestClient, again: dict[str, Any], param: str) -> None:
    response = client.post(URL, files={"image": ("picture.png", picture(), "image/png")}, data=again)
    assert_refused(response, 422, "invalid_option", param=param, says="given twice")


def test_an_underscore_is_no_part_of_a_number(client: TestClient) -> None:
    response = send_raw(client, picture(), {"threshold": "0_5"})
    assert_refused(response, 422, "invalid_option", param="threshold", says="must be a number")


def test_a_data_url_is_read_as_base64(client: TestClient) -> None:
    data_url = "data:image/png;base64," + base64.b64encode(picture("blue")).decode()
    assert client.post(URL, json={"image": data_url}).json()["predictions"][0]["label"] == "blue"


def test_a_large_picture_in_a_form_never_touches_the_disk(client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    data = picture("red") + b"\0" * 1_500_000  # bytes after a PNG's end are ignored
    assert send_form(client, data).status_code == 200


def test_the_answer_has_the_shape_that_clients_rely_on(client: TestClient) -> None:
    answer = send_raw(client, picture("red")).json()
    assert answer["model"] == {"name": "colours", "version": "1"}
    assert sum(entry["probability"] for entry in answer["predictions"]) == pytest.approx(1)
    assert [entry["label"] for entry in answer["predictions"]] == ["red", "green", "blue"]  # falling, ties in the manifest's order
    assert answer["notice"] == "A toy, not a medical device."
    assert answer["timing_ms"]["total"] >= answer["timing_ms"]["infer"] > 0
    assert answer["decision"] == {
        "target": "reddish",
        "probability": pytest.approx(P_RED, abs=1e-6),
        "threshold": 0.5,
        "operating_point": "balanced",
        "positive": True,
        "sensitivity": {"value": 0.5, "ci95": pytest.approx([0.45, 0.55])},
        "specificity": {"value": 0.8, "ci95": pytest.approx([0.75, 0.85])},
        "measured_on": "test split, 100 pictures of 100 spots",
    }


@pytest.mark.parametrize("send", FORMS)
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"target": "warm"}, {"target": "warm", "operating_point": "balanced", "threshold": 0.5}),
        ({"operating_point": "sensitivity-95"}, {"operating_point": "sensitivity-95", "threshold": 0.05}),
        ({"threshold": 0.25}, {"operating_point": None, "threshold": 0.25}),
        ({"threshold": 0}, {"threshold": 0, "positive": True}),
        ({"threshold": 1}, {"threshold": 1, "positive": False}),
        ({"min_sensitivity": 0.9}, {"operating_point": None, "threshold": 0.3}),
        ({"min_sensitivity": 1}, {"threshold": 0, "positive": True}),  # no threshold reached it: all positive
        ({"false_negative_cost": 3}, {"operating_point": None, "threshold": 0.25}),
    ],
)
def test_a_decision_option_works_in_query_form_and_json(
    client: TestClient, send: Any, options: dict[str, Any], expected: dict[str, Any]
) -> None:
    response = send(client, picture("red"), options)
    assert response.status_code == 200, response.text
    decision = response.json()["decision"]
    assert {name: decision[name] for name in expected} == expected


def test_the_error_rates_at_a_free_threshold_lie_on_the_test_curve(client: TestClient) -> None:
    decision = send_raw(client, picture("red"), {"threshold": 0.25}).json()["decision"]
    assert decision["sensitivity"] == {"value": pytest.approx(0.75), "ci95": pytest.approx([0.7, 0.8])}
    assert decision["specificity"] == {"value": pytest.approx(0.4), "ci95": pytest.approx([0.35, 0.45])}


def test_the_target_sums_the_probabilities_of_its_labels(client: TestClient) -> None:
    decision = send_raw(client, picture("red"), {"target": "warm"}).json()["decision"]
    assert decision["probability"] == pytest.approx(P_RED + (1 - P_RED) / 2, abs=1e-6)


@pytest.mark.parametrize("send", FORMS)
def test_top_k_keeps_the_most_probable_labels(client: TestClient, send: Any) -> None:
    assert len(send(client, picture("red"), {"top_k": 2}).json()["predictions"]) == 2
    assert len(send(client, picture("red"), {"top_k": 1000}).json()["predictions"]) == 3


@pytest.mark.parametrize("send", FORMS)
def test_augmentation_leaves_a_plain_picture_as_it_is(client: TestClient, send: Any) -> None:
    plain = send(client, picture("red")).json()["predictions"]
    augmented = send(client, picture("red"), {"augment": True}).json()["predictions"]
    assert [entry["label"] for entry in augmented] == [entry["label"] for entry in plain]
    assert [entry["probability"] for entry in augmented] == pytest.approx([entry["probability"] for entry in plain])


def test_augmentation_runs_the_eight_views(client: TestClient) -> None:
    rows = 'axon_inference_count_total{model="colours"'
    before = metric(client, rows)
    send_raw(client, picture("red"), {"augment": True})
    assert metric(client, rows) - before == 8


CONFLICTS = [
    ({"operating_point": "balanced", "threshold": 0.5}, "threshold"),
    ({"threshold": 0.5, "min_sensitivity": 0.9}, "min_sensitivity"),
    ({"min_sensitivity": 0.9, "false_negative_cost": 3}, "false_negative_cost"),
]


@pytest.mark.parametrize("send", FORMS)
@pytest.mark.parametrize(("options", "param"), CONFLICTS)
def test_two_decision_options_at_once_are_refused(client: TestClient, send: Any, options: dict[str, Any], param: str) -> None:
    assert_refused(send(client, picture("red"), options), 422, "invalid_option", param=param, says="give one of")


def test_two_decision_options_in_different_places_are_refused(client: TestClient) -> None:
    body = {"image": base64.b64encode(picture("red")).decode(), "threshold": 0.5}
    response = client.post(URL, json=body, params={"operating_point": "balanced"})
    assert_refused(response, 422, "invalid_option", param="threshold", says="give one of")


def test_true_is_no_number(client: TestClient) -> None:
    for name in ("top_k", "threshold"):
        response = send_json(client, picture("red"), {name: True})
        assert_refused(response, 422, "invalid_option", param=name, says="must not be true or false")


def test_an_option_that_comes_twice_is_refused(client: TestClient) -> None:
    """Whichever won, a client that meant the other would not hear of it."""
    body = {"image": base64.b64encode(picture("red")).decode(), "threshold": 0.5}
    twice = client.post(URL, json=body, params={"threshold": 0.1})
    assert_refused(twice, 422, "invalid_option", param="threshold", says="given twice")
    for url in (f"{URL}?threshold=0.1&threshold=0.9", f"{URL}?top_k=1&top_k=1"):
        response = client.post(url, content=picture("red"), headers={"content-type": "image/png"})
        assert_refused(response, 422, "invalid_option", param=url.rpartition("&")[2].partition("=")[0], says="given twice")


@pytest.mark.parametrize("send", FORMS)
@pytest.mark.parametrize(
    ("options", "param", "says"),
    [
        ({"operating_point": ""}, "operating_point", "must not be empty"),
        ({"target": "absent"}, "target", "available: reddish, warm"),
        ({"operating_point": "absent"}, "operating_point", "available: balanced, sensitivity-95"),
        ({"threshold": 1.2}, "threshold", "must be at most 1"),
        ({"threshold": -0.1}, "threshold", "must be at least 0"),
        ({"threshold": "nan"}, "threshold", "finite"),
        ({"threshold": "inf"}, "threshold", ""),
        ({"threshold": "half"}, "threshold", "must be a number"),
        ({"min_sensitivity": 1.01}, "min_sensitivity", "must be at most 1"),
        ({"false_negative_cost": 0}, "false_negative_cost", "must be more than 0"),
        ({"top_k": 0}, "top_k", "must be at least 1"),
        ({"top_k": 1.5}, "top_k", "must be a whole number"),
        ({"augment": "perhaps"}, "augment", "must be true or false"),
        ({"target": "x" * 100}, "target", "at most 64 characters"),
        ({"tresholt": 0.5}, "tresholt", "is not an option here"),
        ({"query": 0.5}, "query", "is not an option here"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(client: TestClient, send: Any, options: dict[str, Any], param: str, says: str) -> None:
    assert_refused(send(client, picture("red"), options), 422, "invalid_option", param=param, says=says)


def test_a_literal_nan_in_json_is_refused(client: TestClient) -> None:
    body = b'{"image": "' + base64.b64encode(picture("red")) + b'", "threshold": NaN}'
    assert_refused(client.post(URL, content=body, headers={"content-type": "application/json"}), 422, "invalid_option", param="threshold")


def test_a_decision_option_for_a_model_without_targets_is_refused(tmp_path: Path) -> None:
    write_colour_model(tmp_path, targets=[], default_target=None)
    with serve(tmp_path) as client:
        answer = send_raw(client, picture("red"))
        assert answer.status_code == 200
        assert answer.json()["decision"] is None
        assert_refused(send_raw(client, picture("red"), {"threshold": 0.5}), 422, "invalid_option", param="threshold", says="no targets")
        assert_refused(client.get(f"{URL}/roc"), 422, "invalid_option", param="target", says="no targets")


def test_the_roc_curve_is_the_manifests(client: TestClient) -> None:
    answer = client.get(f"{URL}/roc").json()
    assert (answer["target"], answer["labels"], answer["default_operating_point"]) == ("reddish", ["red"], "balanced")
    assert answer["roc"]["auroc"] == {"value": 0.9, "ci95": [0.8, 0.95]}
    assert answer["roc"]["threshold"] == [0.0, 0.5, 1.0]
    assert [point["name"] for point in answer["operating_points"]] == ["balanced", "sensitivity-95"]
    assert client.get(f"{URL}/roc", params={"target": "warm"}).json()["labels"] == ["red", "green"]


MEASURED = {"positive": [0.2, 0.6, 0.9], "negative": [0.1, 0.3]}


def test_with_the_test_splits_scores_each_rate_is_the_one_measured(tmp_path: Path) -> None:
    question = target("reddish", ["red"]) | {"scores": MEASURED}
    write_colour_model(tmp_path, targets=[question], default_target="reddish")
    with serve(tmp_path) as client:
        decision = send_raw(client, picture("red"), {"threshold": 0.25}).json()["decision"]
    assert (decision["sensitivity"]["value"], decision["specificity"]["value"]) == (0.6667, 0.5)


def test_the_rates_of_eight_views_are_their_own(tmp_path: Path) -> None:
    """A mean over views is another score than that of one view, so it has other error rates."""
    question = target("reddish", ["red"])
    augmented = {"measured_on": "test split, 5 pictures, eight views", "roc": question["roc"], "scores": MEASURED}
    write_colour_model(tmp_path, targets=[question | {"augmented": augmented}, target("warm", ["red", "green"])], default_target="reddish")
    with serve(tmp_path) as client:
        decision = send_raw(client, picture("red"), {"augment": True}).json()["decision"]
        assert (decision["sensitivity"]["value"], decision["specificity"]["value"]) == (0.6667, 1.0)
        assert decision["measured_on"] == augmented["measured_on"]
        curve = client.get(f"{URL}/roc?augment=true").json()
        assert curve["operating_points"][0]["sensitivity"]["value"] == 0.6667
        assert curve["measured_on"] == augmented["measured_on"]
        unmeasured = send_raw(client, picture("red"), {"target": "warm", "augment": True}).json()["decision"]
        assert [unmeasured[name] for name in ("sensitivity", "specificity", "measured_on")] == [None] * 3
        refused = client.get(f"{URL}/roc?target=warm&augment=true")
    assert_refused(refused, 422, "invalid_option", param="augment", says="was not measured")


def test_a_misspelt_option_of_the_roc_curve_is_refused(client: TestClient) -> None:
    assert_refused(client.get(f"{URL}/roc?targt=warm"), 422, "invalid_option", param="targt", says="is not an option")


def test_the_roc_curve_of_an_unknown_target_is_refused(client: TestClient) -> None:
    assert_refused(client.get(f"{URL}/roc", params={"target": "absent"}), 422, "invalid_option", param="target", says="available: reddish")


def test_the_pixel_limit_is_the_operators(toy_models: Path) -> None:
    with serve(toy_models, max_image_pixels=60 * 50) as client:
        assert_refused(send_raw(client, picture(size=(61, 50))), 413, "input_too_large", param="image", says="61 x 50")
        assert send_raw(client, picture(size=(60, 50))).status_code == 200


def test_temperature_softens_the_probabilities(tmp_path: Path) -> None:
    write_colour_model(tmp_path, temperature=2.0)
    softened = math.exp(255 * GAIN / 2)
    with serve(tmp_path) as client:
        assert send_raw(client, picture("red")).json()["predictions"][0]["probability"] == pytest.approx(
            softened / (softened + 2), abs=1e-6
        )


def test_a_picture_turned_by_its_exif_answers_as_upright(client: TestClient) -> None:
    turned = Image.new("RGB", (60, 40), (255, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    response = client.post(URL, content=encoded(turned, "JPEG", exif=exif), headers={"content-type": "image/jpeg"})
    assert response.json()["predictions"][0]["label"] == "red"
