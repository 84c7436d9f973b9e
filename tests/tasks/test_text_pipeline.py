"""Texts to rows and logits to a classification, without a graph between them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.contract.manifest import load_manifest
from app.errors import ModelRejected
from app.tasks.text_classification import Pipeline
from app.tasks.text_classification.pipeline import MAX_OCCLUSIONS, TextOptions
from tests.model_repository import MAX_TOKENS, edit_manifest, write_colour_model, write_word_model


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    folder = write_word_model(tmp_path)
    return Pipeline.load(load_manifest(folder), folder)


def bucket(pipeline: Pipeline, words: int) -> object:
    (row,) = pipeline.preprocess("good " * words, TextOptions())
    return pipeline.bucket(row)


def test_padding_stays_under_half_in_every_bucket(pipeline: Pipeline) -> None:
    lengths: dict[object, list[int]] = {}
    for words in range(1, MAX_TOKENS + 1):
        lengths.setdefault(bucket(pipeline, words), []).append(words)
    assert len(lengths) == 8  # 1, 2, 3-4, 5-8, 9-16, 17-32, 33-64, 65-80
    assert all(max(words) < 2 * min(words) for words in lengths.values())


def test_rows_of_one_bucket_are_padded_to_the_longest(pipeline: Pipeline) -> None:
    rows = [row for text in ("good bad film", "good bad film not") for row in pipeline.preprocess(text, TextOptions())]
    tensors = pipeline.collate(rows)
    assert tensors["input_ids"].shape == (2, 4)
    assert tensors["lengths"].tolist() == [3, 4]
    assert tensors["input_ids"][0, 3] == 0


@pytest.mark.parametrize("words", [2, 63, 64, 65, 80, 500])
def test_an_explanation_costs_a_bounded_number_of_runs_and_misses_no_word(pipeline: Pipeline, words: int) -> None:
    rows = pipeline.preprocess("good " * words, TextOptions(explain=True))
    kept = len(rows[0].input_ids)
    assert kept == min(words, MAX_TOKENS)
    assert len(rows) - 1 <= MAX_OCCLUSIONS + 1
    spans = [row.span for row in rows[1:] if row.span]
    assert [token for start, end in spans for token in range(start, end)] == list(range(kept))
    assert all(len(row.input_ids) == kept - (row.span[1] - row.span[0]) for row in rows[1:] if row.span)


def test_a_contribution_is_how_much_the_labels_probability_falls(pipeline: Pipeline) -> None:
    rows = pipeline.preprocess("good film", TextOptions(explain=True))
    logits = [[0.0, np.log(9)], [0.0, np.log(4)], [0.0, 0.0]]
    answer = pipeline.postprocess(rows, [{"logits": np.array(values)} for values in logits], TextOptions(explain=True))
    assert answer.probabilities == pytest.approx([0.1, 0.9])
    assert answer.contributions is not None
    assert [(piece.start, piece.end) for piece in answer.contributions] == [(0, 4), (5, 9)]
    assert [piece.contribution for piece in answer.contributions] == pytest.approx([0.1, 0.4])


def test_a_manifest_of_another_kind_is_rejected(tmp_path: Path) -> None:
    folder = write_colour_model(tmp_path)
    with pytest.raises(ModelRejected, match="wants a text processor and labels"):
        Pipeline.load(load_manifest(folder), folder)


@pytest.mark.parametrize(("place", "datatype"), [("inputs", "INT32"), ("outputs", "FP64")])
def test_a_graph_of_other_datatypes_is_rejected(tmp_path: Path, place: str, datatype: str) -> None:
    folder = write_word_model(tmp_path)
    edit_manifest(folder, lambda fields: fields["graphs"]["model"][place][0].update(datatype=datatype))
    with pytest.raises(ModelRejected, match="wants a graph from input_ids, INT64"):
        Pipeline.load(load_manifest(folder), folder)


@pytest.mark.parametrize("content", ["{}", "no JSON"])
def test_a_tokenizer_that_cannot_be_read_is_named(tmp_path: Path, content: str) -> None:
    folder = write_word_model(tmp_path)
    manifest = load_manifest(folder)
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(ModelRejected, match=r"tokenizer\.json does not fit the manifest's processor: \w"):
        Pipeline.load(manifest, folder)
