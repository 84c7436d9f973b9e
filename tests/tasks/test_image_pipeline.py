"""Pictures to rows and logits to a classification, without a graph between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.contract.manifest import load_manifest
from app.errors import InvalidOption, ModelRejected
from app.tasks.image_classification import Pipeline
from app.tasks.image_classification.schemas import ClassificationOptions
from tests.model_repository import SIDE_PX, edit_manifest, encoded, write_colour_model, write_word_model


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    folder = write_colour_model(tmp_path)
    return Pipeline.load(load_manifest(folder), folder)


def lopsided() -> bytes:
    """A picture whose eight views are all different."""
    pixels = np.random.default_rng(3).integers(0, 255, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


def test_a_picture_is_one_row_and_augmented_eight(pipeline: Pipeline) -> None:
    assert [row.shape for row in pipeline.preprocess(lopsided(), ClassificationOptions())] == [(3, SIDE_PX, SIDE_PX)]
    views = pipeline.preprocess(lopsided(), ClassificationOptions(augment=True))
    assert len({view.tobytes() for view in views}) == 8
    assert (views[0] == pipeline.preprocess(lopsided(), ClassificationOptions())[0]).all()


def test_views_are_averaged_as_probabilities(pipeline: Pipeline) -> None:
    outputs = [{"logits": np.array(logits, dtype=np.float32)} for logits in ([np.log(8), 0, 0], [0, np.log(2), 0])]
    answer = pipeline.postprocess([None, None], outputs, ClassificationOptions())
    assert answer.probabilities == pytest.approx([(0.8 + 0.25) / 2, (0.1 + 0.5) / 2, (0.1 + 0.25) / 2])
    assert answer.decision is not None
    assert answer.decision.probability == pytest.approx(0.525)
    assert answer.decision.positive


def test_rows_are_stacked_along_the_batch(pipeline: Pipeline) -> None:
    rows = pipeline.preprocess(lopsided(), ClassificationOptions(augment=True))
    tensors = pipeline.collate(rows)
    assert set(tensors) == {"pixel_values"}
    assert (tensors["pixel_values"].shape, tensors["pixel_values"].dtype) == ((8, 3, SIDE_PX, SIDE_PX), np.uint8)


def test_a_wrong_option_is_refused_before_the_picture_is_decoded(pipeline: Pipeline) -> None:
    with pytest.raises(InvalidOption, match="there is no target 'absent'"):
        pipeline.preprocess(b"rubbish", ClassificationOptions(target="absent"))


def test_a_manifest_of_another_kind_is_rejected(tmp_path: Path) -> None:
    folder = write_word_model(tmp_path)
    with pytest.raises(ModelRejected, match="wants an image processor and labels"):
        Pipeline.load(load_manifest(folder), folder)


def test_a_graph_whose_pixels_are_called_as_a_whole_file_is_rejected(tmp_path: Path) -> None:
    folder = write_colour_model(tmp_path)
    edit_manifest(folder, lambda fields: fields["graphs"]["model"]["inputs"][0].update(name="image"))
    with pytest.raises(ModelRejected, match="a graph's input may not be called image"):
        Pipeline.load(load_manifest(folder), folder)


def test_one_label_is_no_classification(tmp_path: Path) -> None:
    folder = write_colour_model(tmp_path, targets=[], default_target=None)
    edit_manifest(folder, lambda fields: fields["graphs"]["model"]["outputs"][0].update(shape=[-1, 1]))
    edit_manifest(folder, lambda fields: fields.update(labels=fields["labels"][:1]))
    with pytest.raises(ModelRejected, match="wants two labels or more"):
        Pipeline.load(load_manifest(folder), folder)
