"""The tiny preset from nothing to a proved model, resumed after a kill, and split over two processes."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from app.contract.classification import softmax
from app.contract.manifest import load_manifest
from tests.training.processes import kill_once_written
from tests.training.skin_lesion.conftest import SMALLER, MakeRun
from tests.training.tiny_runs import check_export_is_refused, copy_of
from training.kit.config import ConfigError, config_dict
from training.kit.data import DataError
from training.kit.export import ExportError
from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.skin_lesion import evaluate, export, train
from training.recipes.skin_lesion.archive import find_archive
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.data import LABELS, load
from training.recipes.skin_lesion.epochs import epoch_files, seconds_by_run
from training.recipes.skin_lesion.evaluate import pixels_of, predict_views
from training.recipes.skin_lesion.selection import load_chosen
from training.recipes.skin_lesion.teachers import check_teachers, load_teachers

ROOT = Path(__file__).parents[3]


def arguments(run: Run[Config], *overrides: str) -> list[str]:
    return ["skin-lesion", "train", "--preset", "tiny", "--run-folder", str(run.directory), *SMALLER, *overrides]


def test_the_exported_model_is_accepted_by_the_contract(finished_run: Run[Config]) -> None:
    manifest = load_manifest(finished_run.models / "skin-lesion" / "1")
    assert manifest.graphs["model"].inputs[0].datatype == "UINT8"
    assert [label.name for label in manifest.labels] == list(LABELS)
    assert [target.name for target in manifest.targets] == ["melanoma", "keratosis", "malignant"]
    assert "synthetic" in manifest.provenance.data[0].name


def test_the_preprocessing_that_is_served_gives_the_evaluated_pixels_byte_for_byte(finished_run: Run[Config]) -> None:
    lesions, archive = load(finished_run), find_archive(finished_run)
    processor = load_manifest(finished_run.models / "skin-lesion" / "1").processor
    pixels = pixels_of(finished_run, lesions, "test")
    for i, row in enumerate(lesions.splits["test"]):
        np.testing.assert_array_equal(pixels[i], processor.preprocess(archive.read(lesions.records[row].image_id)))


def test_the_golden_request_gives_the_golden_answer(finished_run: Run[Config]) -> None:
    folder = finished_run.models / "skin-lesion" / "1"
    manifest = load_manifest(folder)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    pixels = manifest.processor.preprocess((folder / manifest.golden.request).read_bytes())
    (logits,) = session.run(["logits"], {"pixel_values": pixels[None]})
    np.testing.assert_allclose(logits, np.load(folder / manifest.golden.outputs)["logits"], atol=manifest.golden.atol)


def test_an_answer_does_not_depend_on_its_batch_mates(finished_run: Run[Config]) -> None:
    session = onnxruntime.InferenceSession(finished_run.models / "skin-lesion" / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    pixels = pixels_of(finished_run, load(finished_run), "test")[:5]
    (together,) = session.run(["logits"], {"pixel_values": pixels})
    alone = np.concatenate([session.run(["logits"], {"pixel_values": row[None]})[0] for row in pixels])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_manifest_states_what_the_predictions_give(finished_run: Run[Config]) -> None:
    manifest = load_manifest(finished_run.models / "skin-lesion" / "1")
    predictions = np.load(finished_run.directory / "predictions.npz")
    probabilities = softmax(predictions["test"][0], manifest.temperature)
    stated = {metric.name: metric.value for metric in manifest.metrics if metric.note == "PyTorch, one view"}
    assert stated["accuracy"] == pytest.approx(np.mean(probabilities.argmax(1) == predictions["test_labels"]), abs=1e-4)
    served = {metric.name: metric.value for metric in manifest.metrics if metric.note == "ONNX Runtime, one view"}
    assert served == pytest.approx(stated, abs=1e-3)


def test_operating_points_are_what_their_thresholds_do_on_test_lesions(finished_run: Run[Config]) -> None:
    manifest = load_manifest(finished_run.models / "skin-lesion" / "1")
    predictions = np.load(finished_run.directory / "predictions.npz")
    probabilities, labels = softmax(predictions["test"][0], manifest.temperature), predictions["test_labels"]
    for target in manifest.targets:
        columns = [LABELS.index(label) for label in target.labels]
        called, positive = probabilities[:, columns].sum(1), np.isin(labels, columns)
        for point in target.operating_points:
            assert point.sensitivity.value == pytest.approx(np.mean(called[positive] >= point.threshold - 1e-9), abs=1e-4)
            assert point.specificity.value == pytest.approx(np.mean(called[~positive] < point.threshold - 1e-9), abs=1e-4)


def test_no_lesion_is_in_two_splits(finished_run: Run[Config]) -> None:
    lesions = load(finished_run)
    members = [{lesions.records[i].lesion_id for i in rows} for rows in lesions.splits.values()]
    assert len(set.union(*members)) == sum(len(side) for side in members) == finished_run.config.synthetic_lesions


def test_views_of_the_evaluation_start_with_the_image_as_it_is(finished_run: Run[Config]) -> None:
    network, _ = load_chosen(finished_run)
    pixels = pixels_of(finished_run, load(finished_run), "test")[:3]
    views = predict_views(network, pixels, 8)
    np.testing.assert_array_equal(views[0], train.predict(network, pixels))
    assert len({views[i].tobytes() for i in range(8)}) == 8


def test_the_chosen_weights_score_what_was_written_of_them(finished_run: Run[Config]) -> None:
    network, chosen = load_chosen(finished_run)
    measured = train.measure(network, load(finished_run), "validation", finished_run.config)
    assert measured == pytest.approx(chosen["measured"], abs=1e-4)
    assert chosen["prior_shift"] in finished_run.config.prior_shifts


def test_a_run_that_was_killed_goes_on_to_the_same_result(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "epochs=2")
    kill_once_written(run.checkpoint, arguments(run, "epochs=2"))
    assert [row["epoch"] for row in RunLog(run.directory, quiet=True).rows()] == [0]
    train.main(run)
    resumed, whole = torch.load(run.checkpoint, weights_only=True), torch.load(finished_run.checkpoint, weights_only=True)
    for name, tensor in whole["model"].items():
        torch.testing.assert_close(resumed["model"][name], tensor, rtol=1e-4, atol=1e-5)
    assert _losses(run) == pytest.approx(_losses(finished_run), rel=1e-4)


def test_two_processes_compute_what_one_does(make_run: MakeRun, tmp_path: Path) -> None:
    overrides = ("epochs=1", "fixed_statistics=true", "dropout=0.0", "synthetic_lesions=140")
    alone, shared = make_run(tmp_path / "alone", *overrides), make_run(tmp_path / "shared", *overrides)
    train.main(alone)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "training"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([*launcher, *arguments(shared, *overrides)], cwd=ROOT, check=True, env=environment, capture_output=True, timeout=200)
    assert _losses(shared) == pytest.approx(_losses(alone), rel=1e-3)


def test_another_seed_gives_another_run(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    lesions = load(finished_run)
    seeded = dataclasses.replace(finished_run.config, seed=2)
    assert not np.array_equal(train.draw_batches(lesions, finished_run.config, 0, 4), train.draw_batches(lesions, seeded, 0, 4))


def test_pixels_that_lie_on_the_device_make_the_same_batch_and_the_same_figures(finished_run: Run[Config]) -> None:
    """As on a GPU, where the files' pixels are tensors."""
    lesions, cpu = load(finished_run), torch.device("cpu")
    held = dataclasses.replace(lesions, pixels={size: torch.from_numpy(np.array(pixels)) for size, pixels in lesions.pixels.items()})
    rows = lesions.splits["train"][:8]
    for part, same in zip(*(train.load_batch(source, finished_run.config, 0, 0, rows, cpu) for source in (lesions, held)), strict=True):
        assert torch.equal(part, same)
    network, _ = load_chosen(finished_run)
    read, on_device = (train.measure(network, source, "validation", finished_run.config) for source in (lesions, held))
    assert on_device == read


def test_a_student_starts_as_its_first_teacher(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, f"teachers=['{finished_run.directory}']")
    teachers = load_teachers(run)
    (teacher,) = teachers.members
    student = train.start(run.config, teachers, launch_fabric())
    for name, tensor in teacher.state_dict().items():
        torch.testing.assert_close(student.state_dict()[name], tensor)


def test_a_student_says_what_its_teachers_are_worth_together(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice the same teacher is worth what it is worth alone."""
    run = make_run(tmp_path, f"teachers=['{finished_run.directory}', '{finished_run.directory}']", "epochs=0")
    train.main(run)
    alone = train.measure(load_teachers(run).members[0], load(run), "validation", run.config)
    assert f"the teachers together: validation_loss {alone['validation_loss']:.4f}  melanoma_auroc" in capsys.readouterr().out


def test_a_student_that_only_listens_reaches_the_entropy_of_its_teacher(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path
) -> None:
    """It starts as the teacher, so with a rate of zero its loss is the cross-entropy of the teacher with itself."""
    still = ("dropout=0.0", "fixed_statistics=true", "learning_rate=0.0", "head_learning_rate=0.0", "epochs=1", "teaching_weight=1.0")
    run = make_run(tmp_path, f"teachers=['{finished_run.directory}']", *still)
    train.main(run)
    (teacher,) = load_teachers(run).members
    lesions, entropies = load(run), []
    for step, rows in enumerate(train.draw_batches(lesions, run.config, 0, len(lesions.splits["train"]) // run.config.batch_size)):
        images, _ = train.load_batch(lesions, run.config, 0, step, rows, torch.device("cpu"))
        with torch.no_grad():
            entropies.append(torch.distributions.Categorical(logits=teacher(images)).entropy().mean().item())
    assert _losses(run) == pytest.approx([np.mean(entropies)], rel=1e-3)


@pytest.fixture(scope="module")
def ensemble_run(finished_run: Run[Config], make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Run[Config]:
    """The finished run twice, evaluated and exported."""
    run = make_run(tmp_path_factory.mktemp("ensemble"), f"members=['{finished_run.directory}', '{finished_run.directory}']")
    evaluate.main(run)
    export.main(run)
    return run


def test_an_ensemble_of_one_network_twice_ranks_as_that_network_does(ensemble_run: Run[Config], finished_run: Run[Config]) -> None:
    ensemble, alone = (
        {metric.name: metric.value for metric in load_manifest(run.models / "skin-lesion" / "1").metrics if "one view" in metric.note}
        for run in (ensemble_run, finished_run)
    )
    assert ensemble == pytest.approx(alone, abs=0.01)


def test_an_ensemble_names_its_runs_their_settings_and_the_time_of_all(ensemble_run: Run[Config], finished_run: Run[Config]) -> None:
    manifest = load_manifest(ensemble_run.models / "skin-lesion" / "1")
    assert [part["run"] for part in manifest.measurements["weights"]["runs"]] == [finished_run.directory.name] * 2
    alone = load_manifest(finished_run.models / "skin-lesion" / "1").provenance
    assert alone.config == config_dict(finished_run.config)
    assert manifest.provenance.config == {"members": {finished_run.directory.name: alone.config}}
    assert manifest.provenance.duration_s == pytest.approx(alone.duration_s, abs=0.2)  # it is one run, named twice
    assert (manifest.provenance.hardware, manifest.provenance.trained_at) == (alone.hardware, alone.trained_at)


def test_the_time_of_a_run_is_also_that_of_its_teachers(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, f"teachers=['{finished_run.directory}', '../gone']")
    (epoch,) = epoch_files(finished_run.directory, run.recipe)[-1:]
    state = torch.load(epoch, weights_only=True)
    (run.directory / "epochs").mkdir(parents=True)
    torch.save(state | {"config": config_dict(run.config), "duration_s": 7.0}, run.directory / "epochs" / "000.pt")
    assert seconds_by_run(run.directory, run.recipe) == {run.directory: 7.0, finished_run.directory: state["duration_s"]}


def test_to_evaluate_what_was_not_trained_is_refused_before_the_data_is_prepared(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(DataError, match="holds no trained epoch"):
        evaluate.main(run)
    assert not (run.directory / "prepared").exists()


def test_to_train_before_the_teacher_is_refused_before_the_data_is_prepared(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "teachers=['../teacher']")
    with pytest.raises(DataError, match=r"run `axon-train skin-lesion train --preset teacher --run \S+/teacher` first"):
        train.main(run)
    assert not run.directory.exists()


def test_a_run_beside_this_one_is_found_before_this_one_has_a_folder(finished_run: Run[Config], make_run: MakeRun) -> None:
    beside = dataclasses.replace(make_run(finished_run.directory, "teachers=['..']"), directory=finished_run.directory / "student")
    check_teachers(beside)
    assert not beside.directory.exists()


def test_new_weights_are_not_exported_with_an_older_evaluation(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    shutil.copytree(finished_run.directory, run.directory)
    chosen = torch.load(run.directory / "chosen.pt", weights_only=True)
    torch.save(chosen | {"prior_shift": 0.7}, run.directory / "chosen.pt")
    with pytest.raises(DataError, match="is of other weights"):
        export.main(run)


def test_an_export_that_is_not_proved_leaves_the_model_repository_alone(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(finished_run, make_run(tmp_path))
    monkeypatch.setattr(export, "ATOL", -1.0)
    check_export_is_refused(run, export, ExportError)


def test_a_teacher_that_has_seen_what_is_held_out_here_is_refused(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, f"teachers=['{finished_run.directory}']", "validation_share=0.3", "test_share=0.3")
    with pytest.raises(ConfigError, match="held out 30% of the lesions and this run needs 60%"):
        load_teachers(run)


def test_an_evaluation_on_lesions_that_the_run_learnt_from_is_refused(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "validation_share=0.3", "test_share=0.3")
    shutil.copytree(finished_run.directory, run.directory)
    with pytest.raises(ConfigError, match="held out 30% of the lesions and this run needs 60%"):
        evaluate.main(run)


def test_test_lesions_that_epochs_were_measured_on_are_refused(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, f"members=['{finished_run.directory}']", "validation_share=0.05", "test_share=0.25")
    with pytest.raises(ConfigError, match="left 15% of the lesions for its test and this run tests on 25%"):
        evaluate.main(run)


def test_a_size_that_was_not_prepared_is_prepared(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    load(run)
    smaller = dataclasses.replace(run, config=dataclasses.replace(run.config, small_epochs=1, warmup_image_size=32))
    assert load(smaller).pixels[32].shape[1:] == (3, 32, 32)


def test_an_ensemble_is_not_trained(ensemble_run: Run[Config]) -> None:
    with pytest.raises(ConfigError, match="there is nothing to train"):
        train.main(ensemble_run)


def test_evaluation_writes_its_plots(finished_run: Run[Config]) -> None:
    names = {path.name for path in (finished_run.directory / "plots").glob("*.png")}
    assert names == {"roc.png", "reliability.png", "confusion.png", "decision_curve.png", "loss.png", "validation.png"}
    assert json.loads((finished_run.directory / "evaluation.json").read_text())["temperature"] > 0


def _losses(run: Run[Config]) -> list[float]:
    return [row["train_loss"] for row in RunLog(run.directory, quiet=True).rows()]


def test_a_run_does_not_go_on_at_another_rate(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = copy_of(finished_run, make_run(tmp_path, "epochs=3", "learning_rate=0.5"))
    with pytest.raises(ConfigError, match=r"learning_rate=0.0006, not 0.5: leave it as it was, or give --run another folder"):
        train.main(run)
