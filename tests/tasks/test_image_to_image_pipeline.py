"""Options to the weights of the choices, pictures to rows, and what a graph drew to a picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.contract.manifest import load_manifest
from app.errors import BadRequest, InputTooLarge, InvalidOption, ModelRejected, UndecodableImage
from app.tasks.image_to_image import Pipeline
from app.tasks.image_to_image.pipeline import PictureRow
from tests.drawing_models import (
    MAX_SIDE_PX,
    scene,
    scene_png,
    write_plain_drawing_model,
    write_tinting_model,
    write_turning_model,
)
from tests.model_repository import edit_manifest, encoded, write_colour_model


def loaded(folder: Path) -> Pipeline:
    return Pipeline.load(load_manifest(folder), folder)


@pytest.fixture
def tints(tmp_path: Path) -> Pipeline:
    return loaded(write_tinting_model(tmp_path))


@pytest.fixture
def turns(tmp_path: Path) -> Pipeline:
    return loaded(write_turning_model(tmp_path))


@pytest.fixture
def negatives(tmp_path: Path) -> Pipeline:
    return loaded(write_plain_drawing_model(tmp_path))


DEFAULTS = {"preserve_colour": False, "max_side_px": MAX_SIDE_PX}


@pytest.mark.parametrize(
    ("options", "condition", "understood"),
    [
        ({}, [1, 0, 0], {"style": "rose", "strength": 1.0}),
        ({"style": "moss"}, [0, 1, 0], {"style": "moss", "strength": 1.0}),
        ({"style": "none"}, [0, 0, 1], {"style": "none", "strength": 1.0}),
        ({"style": None}, [1, 0, 0], {"style": "rose", "strength": 1.0}),
        ({"styles": "rose:0.25,moss:0.75"}, [0.25, 0.75, 0], {"styles": {"rose": 0.25, "moss": 0.75}, "strength": 1.0}),
        ({"styles": " moss : 3 , rose:1e0"}, [0.25, 0.75, 0], {"styles": {"rose": 0.25, "moss": 0.75}, "strength": 1.0}),
        ({"styles": {"moss": 3, "rose": 1}}, [0.25, 0.75, 0], {"styles": {"rose": 0.25, "moss": 0.75}, "strength": 1.0}),
        ({"strength": "0.25"}, [0.25, 0, 0.75], {"style": "rose", "strength": 0.25}),
        ({"strength": 0}, [0, 0, 1], {"style": "rose", "strength": 0.0}),
        ({"styles": "rose:1,moss:1", "strength": 0.5}, [0.25, 0.25, 0.5], {"styles": {"rose": 0.5, "moss": 0.5}, "strength": 0.5}),
        ({"preserve_colour": "true"}, [1, 0, 0], {"style": "rose", "strength": 1.0, "preserve_colour": True}),
        ({"max_side_px": "16"}, [1, 0, 0], {"style": "rose", "strength": 1.0, "max_side_px": 16}),
    ],
)
def test_options_are_understood(tints: Pipeline, options: dict[str, Any], condition: list[float], understood: dict[str, Any]) -> None:
    order = tints.order(options)
    assert order.condition is not None
    assert order.condition.tolist() == condition
    assert order.understood == DEFAULTS | understood


def test_a_direction_is_one_choice_and_has_no_strength(turns: Pipeline) -> None:
    order = turns.order({"direction": "red-to-blue"})
    assert order.condition is not None
    assert order.condition.tolist() == [0, 1]
    assert order.understood == DEFAULTS | {"direction": "red-to-blue"}


def test_a_model_without_choices_has_no_condition(negatives: Pipeline) -> None:
    assert negatives.default_options().condition is None
    assert negatives.default_options().understood == DEFAULTS
    (row,) = negatives.preprocess(scene_png(), negatives.default_options())
    assert set(negatives.collate([row])) == {"pixel_values"}


STYLES, DIRECTIONS = "available: rose, moss, none", "available: photo-to-negative, red-to-blue"


@pytest.mark.parametrize(
    ("kind", "options", "param", "says"),
    [
        ("tints", {"style": "oil"}, "style", f"there is no style 'oil'; {STYLES}"),
        ("tints", {"style": "x" * 500}, "style", STYLES),
        ("tints", {"style": 3}, "style", "style must be one of: rose, moss, none"),
        ("tints", {"style": ["rose"]}, "style", "style must be one of"),
        ("tints", {"styles": "oil:1"}, "styles", f"there is no style 'oil'; {STYLES}"),
        ("tints", {"styles": "rose"}, "styles", f"such as rose:0.7,moss:0.3; {STYLES}"),
        ("tints", {"styles": "rose:"}, "styles", "such as"),
        ("tints", {"styles": "rose:1,"}, "styles", "such as"),
        ("tints", {"styles": "rose:1:2"}, "styles", "such as"),
        ("tints", {"styles": "rose:e"}, "styles", "such as"),
        ("tints", {"styles": "rose:nan"}, "styles", "such as"),
        ("tints", {"styles": "rose:1_0"}, "styles", "such as"),
        ("tints", {"styles": "rose:1," * 1000 + "rose:1"}, "styles", "such as"),
        ("tints", {"styles": ""}, "styles", "such as"),
        ("tints", {"styles": ["rose"]}, "styles", "such as"),
        ("tints", {"styles": {"rose": "1"}}, "styles", "such as"),
        ("tints", {"styles": {"rose": True}}, "styles", "such as"),
        ("tints", {"styles": {"rose": 10**400}}, "styles", "such as"),
        ("tints", {"styles": {}}, "styles", "a finite sum above 0"),
        ("tints", {"styles": {"rose": float("nan")}}, "styles", "at least 0"),
        ("tints", {"styles": "rose:1,rose:2"}, "styles", "each choice once"),
        ("tints", {"styles": "rose:0,moss:0"}, "styles", "a finite sum above 0"),
        ("tints", {"styles": "rose:1e308,moss:1e308"}, "styles", "a finite sum above 0"),
        ("tints", {"strength": "0_5"}, "strength", "must be a number"),
        ("tints", {"max_side_px": "1_00"}, "max_side_px", "whole number"),
        ("tints", {"max_side_px": 0}, "max_side_px", f"between 16 and {MAX_SIDE_PX}"),
        ("tints", {"styles": "rose:-1,moss:2"}, "styles", "the weight of 'rose' must be a number, at least 0"),
        ("tints", {"styles": "rose:1e400"}, "styles", "the weight of 'rose' must be a number"),
        ("tints", {"style": "rose", "styles": "rose:1"}, "styles", "give style or styles, not both"),
        ("tints", {"strength": 1.01}, "strength", "at most 1"),
        ("tints", {"strength": -0.1}, "strength", "at least 0"),
        ("tints", {"strength": "nan"}, "strength", "finite"),
        ("tints", {"strength": "half"}, "strength", "must be a number"),
        ("tints", {"preserve_colour": "perhaps"}, "preserve_colour", "must be true or false"),
        ("tints", {"max_side_px": 15}, "max_side_px", f"between 16 and {MAX_SIDE_PX}"),
        ("tints", {"max_side_px": MAX_SIDE_PX + 1}, "max_side_px", f"between 16 and {MAX_SIDE_PX}"),
        ("tints", {"max_side_px": 10**30}, "max_side_px", ""),
        ("tints", {"max_side_px": 99.5}, "max_side_px", "whole number"),
        ("tints", {"direction": "red-to-blue"}, "direction", "there are: style, styles, strength, preserve_colour, max_side_px"),
        ("tints", {"x" * 500: 1}, "x" * 64, "is not an option here"),
        ("turns", {"direction": "zebra"}, "direction", f"there is no direction 'zebra'; {DIRECTIONS}"),
        ("turns", {"directions": "red-to-blue:1"}, "directions", "cannot be mixed; give one as direction"),
        ("turns", {"strength": 1}, "strength", "no neutral direction"),
        ("turns", {"style": "rose"}, "style", "there are: direction, preserve_colour, max_side_px"),
        ("negatives", {"strength": 1}, "strength", "no choices"),
        ("negatives", {"style": "rose"}, "style", "there are: preserve_colour, max_side_px"),
    ],
)
def test_a_wrong_option_is_refused_with_what_it_may_be(
    request: pytest.FixtureRequest, kind: str, options: dict[str, Any], param: str, says: str
) -> None:
    with pytest.raises(InvalidOption) as caught:
        request.getfixturevalue(kind).order(options)
    assert caught.value.param == param
    assert says in caught.value.message
    assert len(caught.value.message) < 400


def test_a_row_is_the_picture_and_its_weights(tints: Pipeline) -> None:
    (row,) = tints.preprocess(scene_png(321, 257), tints.order({"style": "moss"}))
    assert (row.pixels.transpose(1, 2, 0) == scene(321, 257)).all()
    assert tints.pixels(row) == 321 * 257
    tensors = tints.collate([row, row])
    assert {name: (tensor.shape, str(tensor.dtype)) for name, tensor in tensors.items()} == {
        "pixel_values": ((2, 3, 257, 321), "uint8"),
        "condition": ((2, 3), "float32"),
    }


def test_rows_share_a_batch_by_size_and_by_direction(tints: Pipeline, turns: Pipeline) -> None:
    def bucket(pipeline: Pipeline, options: dict[str, Any], size: tuple[int, int]) -> Any:
        (row,) = pipeline.preprocess(scene_png(*size), pipeline.order(options))
        return pipeline.bucket(row)

    assert bucket(tints, {"style": "rose"}, (64, 48)) == bucket(tints, {"styles": "moss:1,none:2"}, (64, 48))
    assert bucket(tints, {}, (64, 48)) != bucket(tints, {}, (48, 64))
    assert bucket(turns, {}, (64, 48)) == bucket(turns, {"direction": "photo-to-negative"}, (64, 48))
    assert bucket(turns, {}, (64, 48)) != bucket(turns, {"direction": "red-to-blue"}, (64, 48))


def test_a_picture_is_shrunk_as_far_as_the_client_asks(tints: Pipeline) -> None:
    (row,) = tints.preprocess(scene_png(800, 600), tints.default_options())
    assert row.pixels.shape == (3, 300, 400)
    (row,) = tints.preprocess(scene_png(800, 600), tints.order({"max_side_px": 100}))
    assert row.pixels.shape == (3, 75, 100)
    with pytest.raises(InvalidOption, match="max_side_px is too small for this picture: it would be 16 x 12 px") as refused:
        tints.preprocess(scene_png(800, 600), tints.order({"max_side_px": 16}))
    assert refused.value.param == "max_side_px"
    with pytest.raises(UndecodableImage, match="32 x 1 once its longer side is 32"):  # too narrow without the option as well
        tints.preprocess(scene_png(800, 20), tints.order({"max_side_px": 32}))


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize(
    ("form", "media_type"), [("image/png", "image/png"), ("image/webp", "image/webp"), ("application/json", "image/png")]
)
def test_the_answer_is_encoded_in_the_form_that_was_ordered(tints: Pipeline, form: str, media_type: str) -> None:
    drawn = scene(321, 257).astype(np.float32).transpose(2, 0, 1) / 255
    picture = tints.postprocess([None], [{"reconstruction": drawn}], tints.order({}, form))  # type: ignore[list-item]
    assert (picture.media_type, picture.width, picture.height) == (media_type, 321, 257)
    assert Image.open(io.BytesIO(picture.data)).get_format_mimetype() == media_type
    if media_type == "image/png":
        assert (pixels_of(picture.data) == scene(321, 257)).all()


def test_kept_colours_are_the_photographs_and_the_brightness_is_the_drawings(tints: Pipeline) -> None:
    """Within the rounding of a colour space that is stored in 8 bits; the greys leave room, so nothing is cut."""
    photograph = (scene(64, 48) // 4 + 96).astype(np.uint8)
    drawn = np.broadcast_to((scene(64, 48, seed=2)[:, :, :1] // 4 + 96), (48, 64, 3)).astype(np.float32)  # grey
    row = PictureRow(photograph.transpose(2, 0, 1), None)
    picture = tints.postprocess([row], [{"reconstruction": drawn.transpose(2, 0, 1) / 255}], tints.order({"preserve_colour": True}))
    answered = np.asarray(Image.fromarray(pixels_of(picture.data)).convert("YCbCr")).astype(int)
    assert np.abs(answered[:, :, 0] - drawn[:, :, 0]).max() <= 2
    assert np.abs(answered[:, :, 1:] - np.asarray(Image.fromarray(photograph).convert("YCbCr"))[:, :, 1:]).max() <= 2


def images(*items: bytes) -> dict[str, Any]:
    array = np.empty(len(items), dtype=np.object_)
    array[:] = items
    return {"image": array}


def test_tensors_and_pictures_become_the_same_rows(tints: Pipeline) -> None:
    (encoded_row,) = tints.rows(images(scene_png()))
    (bare_row,) = tints.rows({"pixel_values": scene(64, 48).transpose(2, 0, 1)[None], "condition": np.array([[1, 0, 0]], np.float32)})
    assert (encoded_row.pixels == bare_row.pixels).all()
    assert encoded_row.condition is not None
    assert bare_row.condition is not None
    assert (encoded_row.condition == bare_row.condition).all()


def tensors(height: int, width: int, *conditions: list[float], rows: int = 1) -> dict[str, Any]:
    return {"pixel_values": np.zeros((rows, 3, height, width), np.uint8), "condition": np.array(conditions, np.float32)}


@pytest.mark.parametrize(
    ("kind", "inputs", "error", "says"),
    [
        ("tints", tensors(15, 40, [1, 0, 0]), BadRequest, "pixel_values is 40 x 15 px; each side needs at least 16"),
        ("tints", tensors(0, 0, [1, 0, 0]), BadRequest, "each side needs at least 16"),
        ("tints", tensors(16, 401, [1, 0, 0]), InputTooLarge, "each side may have at most 400"),
        ("tints", tensors(16, 16, [1, 0, 0], [1, 0, 0]), BadRequest, "pixel_values has 1 rows, condition has 2"),
        ("tints", tensors(16, 16, [1, float("nan"), 0]), BadRequest, "finite numbers"),
        ("tints", tensors(16, 16, [float("inf"), 0, 0]), BadRequest, "finite numbers"),
        ("tints", tensors(16, 16, [2, -1, 0]), BadRequest, "at least 0 that sum to 1, for: rose, moss, none"),
        ("tints", tensors(16, 16, [0, 0, 0]), BadRequest, "sum to 1"),
        ("tints", tensors(16, 16, [3e38, 3e38, 0]), BadRequest, "sum to 1"),
        ("tints", tensors(16, 16, [0.5, 0.4, 0]), BadRequest, "sum to 1"),
        ("turns", tensors(16, 16, [0.5, 0.5]), BadRequest, "a single 1 and else 0, for one of: photo-to-negative, red-to-blue"),
        ("turns", tensors(16, 16, [1, 1]), BadRequest, "a single 1"),
        ("turns", tensors(16, 16, [0, 0]), BadRequest, "a single 1"),
        ("turns", tensors(16, 16, [0, -1]), BadRequest, "a single 1"),
        ("turns", tensors(16, 16, [0, 2]), BadRequest, "a single 1"),
        ("tints", images(scene_png(20, 20), scene_png(20, 21)), BadRequest, "must be of one size, not 20 x 20 and 20 x 21 px"),
        ("tints", images(b"rubbish"), UndecodableImage, "not a JPEG, PNG or WebP"),
    ],
)
def test_tensors_that_the_graph_has_no_answer_to_are_refused(
    request: pytest.FixtureRequest, kind: str, inputs: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error) as caught:
        list(request.getfixturevalue(kind).rows(inputs))
    assert says in str(caught.value)


def test_the_pixel_limit_is_the_operators(tints: Pipeline) -> None:
    huge = encoded(Image.new("1", (8000, 6000)))
    with pytest.raises(InputTooLarge, match="8000 x 6000 px"):
        tints.preprocess(huge, tints.default_options())


def test_a_manifest_of_another_kind_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match="wants a photograph processor"):
        loaded(write_colour_model(tmp_path))
    folder = write_colour_model(tmp_path, "photographs", processor={"type": "photograph"})
    with pytest.raises(ModelRejected, match="from pixel_values, and condition, to reconstruction"):
        loaded(folder)


@pytest.mark.parametrize(("place", "index", "datatype"), [("inputs", 0, "FP32"), ("inputs", 1, "INT64"), ("outputs", 0, "UINT8")])
def test_a_graph_of_other_datatypes_is_rejected(tmp_path: Path, place: str, index: int, datatype: str) -> None:
    folder = write_tinting_model(tmp_path)
    edit_manifest(folder, lambda fields: fields["graphs"]["model"][place][index].update(datatype=datatype))
    with pytest.raises(ModelRejected, match="from pixel_values, and condition, to reconstruction"):
        loaded(folder)


def test_a_batch_of_photographs_is_as_large_as_the_largest_one_unless_the_manifest_says_more(tmp_path: Path) -> None:
    assert load_manifest(write_tinting_model(tmp_path)).max_batch_pixels == MAX_SIDE_PX**2
    folder = write_tinting_model(tmp_path, "more", batching={"max_batch_pixels": 9_000_000})
    assert load_manifest(folder).max_batch_pixels == 9_000_000
    assert load_manifest(write_colour_model(tmp_path)).max_batch_pixels is None
