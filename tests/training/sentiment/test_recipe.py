"""The tiny preset from nothing to a proved model, resumed after a kill, and split over two processes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from app.contract.classification import softmax
from app.contract.manifest import load_manifest
from app.contract.text import TextProcessor, WordTokenizer
from tests.training.processes import kill_once_written, run_in_two_processes
from tests.training.sentiment.conftest import SMALLER, MakeRun
from tests.training.tiny_runs import check_export_is_refused, copy_of, evaluate_other_graph
from training.kit.data import DataError
from training.kit.export import open_session
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.kit.sanity import InsaneFigure
from training.recipes.sentiment import export, finetune, pretrain, train
from training.recipes.sentiment.card import film_reviews
from training.recipes.sentiment.config import Config, DataConfig
from training.recipes.sentiment.data import load_split
from training.recipes.sentiment.evaluate import check_sane
from training.recipes.sentiment.export import inputs
from training.recipes.sentiment.synthetic import synthetic_reviews

UNLIMITED_PRECISION = 1e-5


def arguments(run: Run[Config], *overrides: str) -> list[str]:
    return ["sentiment", "train", "--preset", "tiny", "--run-folder", str(run.directory), *SMALLER, *overrides]


def tokenizer_of(run: Run[Config]) -> WordTokenizer:
    folder = run.models / "sentiment" / "1"
    processor = load_manifest(folder).processor
    assert isinstance(processor, TextProcessor)
    return processor.load(folder)


def test_the_exported_model_is_accepted_by_the_contract(finished_run: Run[Config]) -> None:
    manifest = load_manifest(finished_run.models / "sentiment" / "1")
    assert [(spec.name, spec.datatype, spec.shape) for spec in manifest.graphs["model"].inputs] == [
        ("input_ids", "INT64", (-1, -1)),
        ("lengths", "INT64", (-1,)),
    ]
    assert [label.name for label in manifest.labels] == ["negative", "positive"]
    assert "synthetic" in manifest.title
    assert {metric.note for metric in manifest.metrics} == {"PyTorch", "ONNX Runtime"}


def test_the_tokens_that_are_served_are_those_that_were_evaluated(finished_run: Run[Config]) -> None:
    tokenizer, split = tokenizer_of(finished_run), load_split(finished_run, "test")
    texts = [
        review.text
        for review in synthetic_reviews(finished_run.config.data.synthetic_reviews, finished_run.config.seed)
        if review.part == "test"
    ]
    assert len(texts) == len(split) > 50
    assert max(split.lengths) == finished_run.config.data.max_tokens  # so that truncation is compared too
    for index, text in enumerate(texts):
        np.testing.assert_array_equal(split[index], tokenizer.encode(text).input_ids)


def test_the_golden_request_gives_the_golden_answer(finished_run: Run[Config]) -> None:
    folder = finished_run.models / "sentiment" / "1"
    golden = load_manifest(folder).golden
    ids = tokenizer_of(finished_run).encode((folder / golden.request).read_text()).input_ids
    (logits,) = open_session(folder / "model.onnx").run(["logits"], inputs([ids]))
    np.testing.assert_allclose(logits, np.load(folder / golden.outputs)["logits"], atol=golden.atol)


def test_an_answer_depends_neither_on_its_batch_mates_nor_on_padding(finished_run: Run[Config]) -> None:
    session = open_session(finished_run.models / "sentiment" / "1" / "model.onnx")
    split = load_split(finished_run, "test")
    rows = [split[0][:length] for length in (1, 2, 3, 9)] + [split[index] for index in range(8)]
    (together,) = session.run(["logits"], inputs(rows))
    for row, answer in zip(rows, together, strict=True):
        (alone,) = session.run(["logits"], inputs([row]))
        np.testing.assert_allclose(alone[0], answer, atol=UNLIMITED_PRECISION)
    padded = inputs([rows[3], np.ones(200, dtype=np.int64)])
    padded["input_ids"][0, 9:] = 5  # rubbish where padding should be
    (answers,) = session.run(["logits"], padded)
    np.testing.assert_allclose(answers[0], together[3], atol=UNLIMITED_PRECISION)


def test_the_lstm_is_one_fused_node(finished_run: Run[Config]) -> None:
    import onnx

    graph = onnx.load(finished_run.models / "sentiment" / "1" / "model.onnx").graph
    assert [node.op_type for node in graph.node].count("LSTM") == 1
    assert "Loop" not in {node.op_type for node in graph.node}


def test_the_manifest_states_what_the_graph_answers(finished_run: Run[Config]) -> None:
    manifest = load_manifest(finished_run.models / "sentiment" / "1")
    session = open_session(finished_run.models / "sentiment" / "1" / "model.onnx")
    test = load_split(finished_run, "test")
    logits = np.concatenate([session.run(["logits"], inputs([test[index]]))[0] for index in range(len(test))])
    right = softmax(logits, manifest.temperature).argmax(axis=1) == test.labels
    stated = next(metric for metric in manifest.metrics if (metric.name, metric.note) == ("accuracy", "ONNX Runtime"))
    assert stated.n == len(test)  # no synthetic test review is in training
    assert stated.value == pytest.approx(right.mean(), abs=1e-4)
    assert stated.value > 0.6
    assert stated.ci95 is not None
    assert stated.ci95[0] < stated.value < stated.ci95[1]


def test_a_run_that_was_killed_goes_on_to_the_same_result(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for file in (pretrain.FILE, finetune.FILE):  # once in each stage
        kill_once_written(run.directory / file, arguments(run))
        assert not (run.directory / "mix.json").exists()
    train.main(run)
    for file in (pretrain.FILE, finetune.FILE):
        resumed, whole = (torch.load(folder / file, weights_only=True) for folder in (run.directory, finished_run.directory))
        for name, tensor in whole["module"].items():
            torch.testing.assert_close(resumed["module"][name], tensor, rtol=1e-3, atol=1e-3)
    assert [row["epoch"] for row in RunLog(run.directory / "finetune", quiet=True).rows()] == [0, 1]


def test_two_processes_compute_what_one_does(make_run: MakeRun, tmp_path: Path) -> None:
    overrides = ["pretrain.dropout=0.0"] + [f"finetune.{name}_dropout=0.0" for name in ("word", "embedding", "head")]
    alone, shared = make_run(tmp_path / "alone", *overrides), make_run(tmp_path / "shared", *overrides)
    train.main(alone)
    run_in_two_processes(arguments(shared, *overrides), tmp_path / "logs")
    for stage, key in (("pretrain", "language"), ("pretrain", "verdict"), ("finetune", "loss"), ("finetune", "validation_loss")):
        expected, found = ([row[key] for row in RunLog(run.directory / stage, quiet=True).rows()] for run in (alone, shared))
        assert len(expected) > 1
        assert found == pytest.approx(expected, rel=2e-3), (stage, key)


def test_evaluation_writes_its_plots(finished_run: Run[Config]) -> None:
    assert {path.name for path in (finished_run.directory / "plots").iterdir()} == {"pretraining.png", "finetuning.png", "reliability.png"}
    evaluation = json.loads((finished_run.directory / "evaluation.json").read_text())
    assert set(evaluation["parts"]) == {"deep", "wide"}


def test_a_refused_export_leaves_the_model_repository_alone(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = copy_of(finished_run, make_run(tmp_path))
    evaluate_other_graph(run)
    check_export_is_refused(run, export, DataError, "evaluate` again")


@pytest.mark.parametrize("accuracy", [0.5, 0.9999, float("nan")])
def test_a_figure_that_cannot_be_true_fails_the_run(accuracy: float) -> None:
    with pytest.raises(InsaneFigure, match="look for a bug"):
        check_sane({"accuracy": {"value": accuracy}})


def test_what_the_card_says_of_the_data_is_what_the_run_read() -> None:
    described = film_reviews(DataConfig(max_tokens=100, head_tokens=30), {"train": 1_000, "unlabelled": 2_500})
    assert "on 3,500 reviews and fine-tuned on 1,000 labelled ones" in described.description
    assert "A text of more than 100 tokens is read by its first 30 and its last 70." in described.limitations
