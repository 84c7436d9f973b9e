"""The tiny preset from nothing to a proved model, resumed after a kill, and split over two processes."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from app.contract.manifest import ModelManifest, load_manifest
from app.contract.text import CharacterProcessor
from tests.training.char_lm.conftest import MakeRun
from tests.training.processes import kill_once_written, run_in_two_processes
from tests.training.tiny_runs import check_export_is_refused, copy_of, evaluate_other_graph
from training.kit.config import ConfigError, config_dict
from training.kit.data import DataError
from training.kit.export import open_session
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.kit.sanity import InsaneFigure
from training.recipes.char_lm import evaluate, export, train
from training.recipes.char_lm.config import Config
from training.recipes.char_lm.data import load
from training.recipes.char_lm.evaluate import check_sane
from training.recipes.char_lm.scoring import carried, served

NAME = "char-lm-tiny"


def arguments(run: Run[Config], *overrides: str) -> list[str]:
    return ["char-lm", "train", "--preset", "tiny", "--run-folder", str(run.directory), *overrides]


def manifest_of(run: Run[Config]) -> ModelManifest:
    return load_manifest(run.models / NAME / "1")


def test_the_exported_model_is_accepted_by_the_contract(finished_run: Run[Config]) -> None:
    manifest = manifest_of(finished_run)
    graph = manifest.graphs["model"]
    assert [(spec.name, spec.datatype, spec.shape) for spec in (*graph.inputs, *graph.outputs)] == [
        ("input_ids", "INT64", (-1, -1)),
        ("lengths", "INT64", (-1,)),
        ("state", "FP32", (-1, 4, 48)),
        ("logits", "FP32", (-1, -1, 32)),
        ("next_state", "FP32", (-1, 4, 48)),
    ]
    assert manifest.task == "text-generation"
    assert manifest.defaults["start"] == "\n"
    assert "synthetic" in manifest.title
    assert {metric.name for metric in manifest.metrics} == {"nats_per_character", "bits_per_character"}


def test_the_characters_that_are_served_are_those_that_were_trained(finished_run: Run[Config]) -> None:
    processor, corpus = manifest_of(finished_run).processor, load(finished_run)
    assert isinstance(processor, CharacterProcessor)
    tokenizer = processor.load()
    np.testing.assert_array_equal(tokenizer.encode(corpus.part("validation")), corpus.ids("validation"))
    assert tokenizer.decode(corpus.ids("validation")) == corpus.part("validation")


def test_the_manifest_states_what_the_graph_answers(finished_run: Run[Config]) -> None:
    manifest = manifest_of(finished_run)
    session = open_session(finished_run.models / NAME / "1" / "model.onnx")
    nats = carried(served(session), load(finished_run).ids("validation"))
    stated = [metric for metric in manifest.metrics if (metric.name, metric.n) == ("nats_per_character", len(nats))]
    by_way = {str(metric.note).partition(",")[0]: metric for metric in stated}
    assert by_way["ONNX Runtime"].value == pytest.approx(nats.mean(), abs=1e-4)
    assert by_way["PyTorch"].value == pytest.approx(nats.mean(), abs=0.005)  # int8 costs less than it may
    assert nats.mean() < manifest.measurements["floors"]["unigram"] / 2
    for metric in stated:
        assert metric.ci95 is not None
        assert metric.ci95[0] < metric.value < metric.ci95[1]


def test_the_golden_request_gives_the_golden_answer(finished_run: Run[Config]) -> None:
    folder, manifest = finished_run.models / NAME / "1", manifest_of(finished_run)
    assert isinstance(manifest.processor, CharacterProcessor)
    ids = manifest.processor.load().encode((folder / manifest.golden.request).read_text())
    reader = served(open_session(folder / "model.onnx"))
    logits, state = reader.read(ids[None], reader.zero_state(1))
    recorded = np.load(folder / manifest.golden.outputs)
    np.testing.assert_allclose(logits, recorded["logits"], atol=manifest.golden.atol)
    np.testing.assert_allclose(state, recorded["next_state"], atol=manifest.golden.atol)


def test_the_variants_differ_in_size_and_hardly_in_quality(finished_run: Run[Config]) -> None:
    variants = json.loads((finished_run.directory / "evaluation.json").read_text())["variants"]
    full, served_file = variants["float32"], variants["int8, fixed scale, 7 bits"]
    assert served_file["bytes"] < 0.5 * full["bytes"]
    assert served_file["nats_per_character"] - full["nats_per_character"] <= 0.005
    assert served_file["batch_dependence"] == 0
    assert variants["int8, ONNX Runtime's dynamic LSTM"]["batch_dependence"] > 0  # why it is not the one that is served


def test_a_run_that_was_killed_goes_on_to_the_same_result(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    kill_once_written(run.checkpoint, arguments(run))
    train.main(run)
    resumed, whole = (torch.load(folder.checkpoint, weights_only=True) for folder in (run, finished_run))
    for part in ("model", "average"):
        for name, tensor in whole[part].items():
            torch.testing.assert_close(resumed[part][name], tensor, rtol=1e-3, atol=1e-3)
    assert [row["epoch"] for row in RunLog(run.directory, quiet=True).rows()] == [0, 1, 2]


def test_two_processes_compute_what_one_does(make_run: MakeRun, tmp_path: Path) -> None:
    overrides = ["epochs=1", "net.hidden_dropout=0.0", "net.output_dropout=0.0"]
    alone, shared = make_run(tmp_path / "alone", *overrides), make_run(tmp_path / "shared", *overrides)
    train.main(alone)
    run_in_two_processes(arguments(shared, *overrides), tmp_path / "logs")
    for key in ("train_loss", "validation_loss"):
        expected, found = ([row[key] for row in RunLog(run.directory, quiet=True).rows()] for run in (alone, shared))
        assert len(expected) == 1
        assert found == pytest.approx(expected, rel=2e-3), key


@pytest.mark.parametrize("stage", [train, evaluate, export])
@pytest.mark.parametrize("override", ["weight_decay=0.5", "net.hidden=40"])
def test_a_run_goes_on_only_as_it_was_trained(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path, stage: ModuleType, override: str
) -> None:
    run = copy_of(finished_run, make_run(tmp_path, override))
    with pytest.raises(ConfigError, match=rf"checkpoint.pt was trained with .*, not {override.partition('=')[2]}"):
        stage.main(run)


def test_the_manifest_says_how_the_weights_were_trained_not_how_they_were_exported(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path
) -> None:
    export.main(copy_of(finished_run, make_run(tmp_path, "epochs=9", "threads=2")))
    assert manifest_of(make_run(tmp_path)).provenance.config == config_dict(finished_run.config)


def test_weights_that_do_not_tell_how_they_were_trained_are_taken(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = copy_of(finished_run, make_run(tmp_path))
    state = torch.load(run.checkpoint, weights_only=True)
    del state["config"]
    torch.save(state, run.checkpoint)
    train.load_network(make_run(tmp_path, "weight_decay=0.5"))


@pytest.mark.parametrize(
    ("override", "message"),
    [("chunk=100000", "times chunk=100000 is more than the"), ("window=9999", "window=9999 need 10,000 characters")],
)
def test_a_text_that_is_too_short_for_a_step_is_refused(make_run: MakeRun, tmp_path: Path, override: str, message: str) -> None:
    run = make_run(tmp_path, override)
    with pytest.raises(ConfigError, match=message):
        train.main(run)
    assert not run.checkpoint.exists()


def test_a_batch_that_two_processes_cannot_share_evenly_is_refused(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "launch_fabric", lambda *_: SimpleNamespace(world_size=2))
    with pytest.raises(ConfigError, match="batch_size=15 cannot be shared evenly by 2 processes"):
        train.main(make_run(tmp_path, "batch_size=15"))


@pytest.mark.parametrize(
    "override", ["epochs=-1", "batch_size=0", "learning_rate=-1", "synthetic_characters=0", "cooldown_share=1.2", "net.hidden=0"]
)
def test_a_number_that_means_nothing_is_refused(make_run: MakeRun, tmp_path: Path, override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        make_run(tmp_path, override)


def test_evaluation_writes_its_plots_and_its_samples(finished_run: Run[Config]) -> None:
    assert {path.name for path in (finished_run.directory / "plots").iterdir()} == {"loss.png", "context.png"}
    evaluation = json.loads((finished_run.directory / "evaluation.json").read_text())
    assert [len(text) for text in evaluation["samples"]["texts"].values()] == [finished_run.config.sample_length] * 3


def test_a_refused_export_leaves_the_model_repository_alone(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = copy_of(finished_run, make_run(tmp_path))
    evaluate_other_graph(run)
    check_export_is_refused(run, export, DataError, "evaluate` again")


@pytest.mark.parametrize("nats", [0.05, 1.6, float("nan")])
def test_a_figure_that_cannot_be_true_fails_the_run(nats: float) -> None:
    with pytest.raises(InsaneFigure, match="look for a bug"):
        check_sane(nats, floor=1.5)
