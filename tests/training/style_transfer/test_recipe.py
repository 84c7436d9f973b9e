"""The tiny preset from nothing to a proved model, resumed after a kill, and with a style added."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from app.contract.manifest import load_manifest
from tests.training.processes import kill_once_written
from tests.training.style_transfer.conftest import MakeRun
from tests.training.tiny_runs import check_export_is_refused, copy_of
from training.kit.config import ConfigError, config_dict
from training.kit.data import DataError
from training.kit.export import ExportError, open_session
from training.kit.run import Run
from training.kit.sanity import InsaneFigure
from training.recipes.style_transfer import add_style, evaluate, export, synthetic, train, yardstick
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import find_photographs, load, prepare
from training.recipes.style_transfer.evaluate import measure
from training.recipes.style_transfer.losses import build_loss
from training.recipes.style_transfer.model import with_new_style
from training.recipes.style_transfer.state import load_network
from training.recipes.style_transfer.yardstick import test_images as images_of_the_test_split


def answer(folder: Path, pixels: np.ndarray, condition: np.ndarray) -> np.ndarray:
    return open_session(folder / "model.onnx").run(["reconstruction"], {"pixel_values": pixels, "condition": condition})[0]


def test_the_exported_model_is_accepted_by_the_contract(finished_run: Run[Config]) -> None:
    manifest = load_manifest(finished_run.models / "style-transfer" / "1")
    assert manifest.task == "image-to-image"
    assert manifest.condition is not None
    assert manifest.condition.names == ("stripes", "dots", "none")
    assert (manifest.condition.option, manifest.condition.neutral, manifest.condition.mixable) == ("style", "none", True)
    assert [spec.shape for spec in manifest.graphs["model"].inputs] == [(-1, 3, -1, -1), (-1, 3)]
    assert "synthetic" in manifest.provenance.data[0].name
    assert len(manifest.provenance.data) == 3  # the photographs and two paintings, each with its sha256


def test_the_golden_request_gives_the_golden_answer(finished_run: Run[Config]) -> None:
    folder = finished_run.models / "style-transfer" / "1"
    manifest = load_manifest(folder)
    pixels = manifest.processor.preprocess((folder / manifest.golden.request).read_bytes())  # type: ignore[union-attr]
    found = answer(folder, pixels[None], np.eye(3, dtype=np.float32)[:1])
    np.testing.assert_allclose(found, np.load(folder / manifest.golden.outputs)["reconstruction"], atol=manifest.golden.atol)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (64, 64), (321, 257), (17, 90)])
def test_any_size_is_answered_alike_alone_and_in_a_batch(finished_run: Run[Config], height: int, width: int) -> None:
    folder = finished_run.models / "style-transfer" / "1"
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (3, 3, height, width), dtype=np.uint8)
    condition = np.array([[1, 0, 0], [0.3, 0.3, 0.4], [0, 0, 1]], np.float32)
    together = answer(folder, pixels, condition)
    assert together.shape == (3, 3, height, width)
    alone = np.concatenate([answer(folder, pixels[i : i + 1], condition[i : i + 1]) for i in range(3)])
    np.testing.assert_allclose(together, alone, atol=2e-3)


def test_the_manifest_states_what_was_measured(finished_run: Run[Config]) -> None:
    manifest = load_manifest(finished_run.models / "style-transfer" / "1")
    evaluation = json.loads((finished_run.directory / "evaluation.json").read_text())
    stated = {(metric.note, metric.name): metric for metric in manifest.metrics}
    assert stated["PyTorch", "total_loss"].value == evaluation["figures"]["total_loss"]["value"]
    assert stated["ONNX Runtime", "total_loss"].value == pytest.approx(stated["PyTorch", "total_loss"].value, rel=0.05)
    assert all(metric.n == 3 and metric.ci95 is not None for metric in manifest.metrics)


def test_the_yardstick_is_the_same_loss_on_the_same_photographs(finished_run: Run[Config]) -> None:
    found = [torch.load(path) for path in sorted((finished_run.directory / "yardstick" / "lbfgs").glob("*.pt"))]
    assert len(found) == 3 * 2
    evaluation = json.loads((finished_run.directory / "evaluation.json").read_text())
    start = np.mean([descent["losses"][0] for descent in found])
    assert np.mean([figure["photograph"] for figure in evaluation["paintings"].values()]) == pytest.approx(start, rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "computed"), [({}, 0), ({"precision": "bf16-mixed"}, 0), ({"yardstick_learning_rate": 0.1}, 6), ({"seed": 2}, 6)]
)
def test_a_yardstick_is_read_back_where_all_that_it_depends_on_is_the_same(
    finished_run: Run[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], computed: int
) -> None:
    """Another seed draws other photographs of the same names."""
    shutil.copytree(finished_run.directory / "yardstick", tmp_path / "yardstick")
    run = dataclasses.replace(finished_run, directory=tmp_path, config=dataclasses.replace(finished_run.config, **changes))
    assert descents(run, monkeypatch) == computed


def test_a_yardstick_of_another_painting_is_computed_again(
    finished_run: Run[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dataclasses.replace(finished_run, directory=tmp_path)
    shutil.copytree(finished_run.directory / "yardstick", tmp_path / "yardstick")
    checks = {"dots": synthetic.painting("checks"), "stripes": synthetic.painting("stripes")}
    monkeypatch.setattr(yardstick, "painting_file", lambda _, name: checks[name])
    assert descents(run, monkeypatch) == 3


def descents(run: Run[Config], monkeypatch: pytest.MonkeyPatch) -> int:
    """How many the yardstick computes."""
    computed, descend = [], yardstick.descend
    monkeypatch.setattr(yardstick, "descend", lambda *arguments: computed.append(arguments) or descend(*arguments))
    yardstick.main(run)
    return len(computed)


def test_an_export_with_another_yardstick_than_the_evaluated_one_is_refused(finished_run: Run[Config], tmp_path: Path) -> None:
    run = dataclasses.replace(finished_run, directory=tmp_path / "run", models=tmp_path / "models")
    shutil.copytree(finished_run.directory, run.directory)
    with pytest.raises(DataError, match="the yardstick is not the one that was evaluated"):
        export.main(dataclasses.replace(run, config=dataclasses.replace(run.config, gatys_steps=4)))
    next((run.directory / "yardstick" / "lbfgs").glob("*.pt")).unlink()
    with pytest.raises(DataError, match="is missing; run `axon-train style-transfer evaluate` again"):
        export.main(run)


def test_an_evaluation_leaves_its_pictures(finished_run: Run[Config]) -> None:
    found = {path.name for path in (finished_run.directory / "plots").iterdir()}
    assert found == {"loss.png", "yardstick.png", "contact_sheet.jpg", "styles.jpg"}


def test_adam_may_be_measured_beside_l_bfgs(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = copy_of(finished_run, make_run(tmp_path, "compare_adam=true"))
    evaluate.main(run)
    before, both = (json.loads((each.directory / "evaluation.json").read_text())["figures"] for each in (finished_run, run))
    assert before["gatys_lbfgs_5_total_loss"] == both["gatys_lbfgs_5_total_loss"] != both["gatys_adam_5_total_loss"]
    ours, adams = both["total_loss"]["value"], both["gatys_adam_5_total_loss"]["value"]
    assert both["total_loss_over_gatys_adam_5"]["value"] == pytest.approx(ours / adams, rel=1e-3)


def test_figures_are_means_and_their_ratio() -> None:
    ours, theirs = np.array([[2.0, 4.0], [2.0, 4.0]]), {"lbfgs": np.array([[1.0, 5.0], [1.0, 5.0]])}
    found = evaluate.figures(ours, theirs, 100)
    assert {name: figure["value"] for name, figure in found.items()} == {
        "total_loss": 3,
        "gatys_lbfgs_100_total_loss": 3,
        "total_loss_over_gatys_lbfgs_100": 1,
    }
    assert found["total_loss"]["ci95"] == [3, 3]  # both photographs are alike: nothing to be unsure of


def test_a_run_that_was_killed_goes_on_to_the_same_result(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    kill_once_written(run.checkpoint, ["style-transfer", "train", "--preset", "tiny", "--run-folder", str(run.directory)])
    train.main(run)
    for expected, found in zip(load_network(finished_run)[0].parameters(), load_network(run)[0].parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_run_goes_on_with_the_settings_that_it_was_trained_with_or_not_at_all(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path
) -> None:
    run = copy_of(finished_run, make_run(tmp_path))
    changed = dataclasses.replace(run, config=dataclasses.replace(run.config, learning_rate=0.1))
    for go_on in (train.main, load_network, export.main):
        with pytest.raises(ConfigError, match=r"was trained with learning_rate=0\.002, not 0\.1"):
            go_on(changed)
    state = torch.load(run.checkpoint, weights_only=True)
    del state["config"]
    torch.save(state, run.checkpoint)
    load_network(changed)  # a checkpoint that does not tell is taken
    longer = copy_of(finished_run, make_run(tmp_path / "longer", "epochs=3", "small_epochs=1", "precision=bf16-mixed", "gatys_steps=4"))
    train.main(longer)
    assert torch.load(longer.checkpoint, weights_only=True)["epoch"] == 3


def test_a_manifest_names_the_settings_of_the_training(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = copy_of(finished_run, make_run(tmp_path, "epochs=9"))
    found = export.provenance_of(run, ())
    assert found.config == config_dict(finished_run.config)


@pytest.mark.parametrize("do", [prepare, load])
def test_photographs_of_other_settings_are_neither_overwritten_nor_used(
    finished_run: Run[Config], do: Callable[[Run[Config]], object]
) -> None:
    kept = (finished_run.directory / "prepared" / "pixels.npy").read_bytes()
    for name, value in (("seed", 2), ("synthetic", False)):
        with pytest.raises(DataError, match=f"was prepared with {name}=.*, not {value}: give --run another folder"):
            do(dataclasses.replace(finished_run, config=dataclasses.replace(finished_run.config, **{name: value})))
    assert (finished_run.directory / "prepared" / "pixels.npy").read_bytes() == kept


def test_photographs_that_do_not_tell_their_settings_are_taken(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = copy_of(finished_run, make_run(tmp_path))
    path = run.directory / "prepared" / "photographs.json"
    described = json.loads(path.read_text())
    del described["settings"]
    path.write_text(json.dumps(described))
    assert load(run).names == load(finished_run).names


def test_a_style_that_was_added_elsewhere_leaves_the_network_its_own_machine(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path
) -> None:
    run = copy_of(finished_run, make_run(tmp_path))
    row = {"epoch": 1, "hardware": "a GPU", "commit": "of the network", "versions": {"torch": "1"}, "time": 1.0}
    write_row(run.directory, row)
    write_row(run.directory / "added" / "checks", {**row, "hardware": "a CPU", "commit": "of the style", "versions": {}, "time": 2.0})
    torch.save({"painting": "checks.png", "rows": {}, "duration_s": 40.0}, run.directory / "added" / "checks.pt")
    found = export.provenance_of(run, ())
    assert (found.commit, found.versions, found.hardware) == ("of the network", {"torch": "1"}, "a GPU; a CPU")
    assert found.duration_s == pytest.approx(export.provenance_of(finished_run, ()).duration_s + 40, abs=0.1)


def write_row(folder: Path, row: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").write_text(json.dumps(row) + "\n")


def test_a_painting_of_ones_own_becomes_a_style_and_the_others_stay(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, f"painting={tmp_path / 'my_checks.png'}", "added_steps=40")
    (tmp_path / "my_checks.png").write_bytes(synthetic.painting("checks"))
    shutil.copytree(finished_run.directory, run.directory)
    before, _ = load_network(run)
    add_style.main(run)
    after, paintings = load_network(run)
    assert paintings[-1] == run.config.painting
    assert torch.equal(before.canvas.weight, after.canvas.weight)
    assert torch.equal(after.stem.norm.shift[[0, 1, 3]], before.stem.norm.shift)
    loss, (_, images) = build_loss(run, [run.config.painting]), images_of_the_test_split(run)
    condition = torch.eye(4)[2].expand(3, -1)
    learnt, mean = (measure(loss, network(images, condition).detach()[:, None], images) for network in (after, with_new_style(before)))
    assert learnt.mean() < mean.mean()
    with pytest.raises(DataError, match="of other weights; run `axon-train style-transfer evaluate` again"):
        export.main(run)
    with pytest.raises(ConfigError, match="there is a style my-checks already"):
        add_style.main(run)
    evaluate.main(run)
    export.main(run)
    manifest = load_manifest(run.models / "style-transfer" / "1")
    assert manifest.condition is not None
    assert [(choice.name, choice.title) for choice in manifest.condition.choices][2] == ("my-checks", "My checks")


def test_an_export_that_is_not_proved_leaves_the_model_repository_alone(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(finished_run, make_run(tmp_path))
    monkeypatch.setattr(export, "ATOL", -1.0)
    check_export_is_refused(run, export, ExportError)


def test_without_a_run_a_style_is_added_to_the_exported_model(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, f"painting={tmp_path / 'my_checks.png'}", "added_steps=2")
    (tmp_path / "my_checks.png").write_bytes(synthetic.painting("checks"))
    shutil.copytree(finished_run.models, run.models)
    for expected, found in zip(load_network(finished_run)[0].parameters(), load_network(run)[0].parameters(), strict=True):
        assert torch.equal(found, expected)
    add_style.main(run)
    assert load_network(run)[1][-1] == run.config.painting
    exported = load_manifest(finished_run.models / "style-transfer" / "1").provenance
    found = export.provenance_of(run, ())
    assert exported is not None
    assert (found.commit, found.versions, found.config) == (exported.commit, exported.versions, exported.config)
    assert found.hardware.startswith(exported.hardware)
    with pytest.raises(DataError, match="cannot be trained on"):
        train.main(run)


def test_an_exported_model_of_another_network_is_not_taken_for_this_one(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(tmp_path, "net.blocks=3")
    shutil.copytree(finished_run.models, run.models)
    with pytest.raises(DataError, match="is missing: run"):
        load_network(run)


def test_add_style_without_a_painting_says_how(finished_run: Run[Config]) -> None:
    with pytest.raises(ConfigError, match=r"add-style painting\.jpg"):
        add_style.main(finished_run)


def test_photographs_are_read_from_a_folder_of_ones_own(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "data" / "photos").mkdir(parents=True)
    for name, file in synthetic.photographs(3, seed=1).items():
        (tmp_path / "data" / "photos" / f"{name}.png").write_bytes(file)
    run = make_run(tmp_path, "synthetic=false")
    run = dataclasses.replace(run, data_root=tmp_path / "data")
    name, files = find_photographs(run)
    assert (name, sorted(files)) == ("photos", ["synthetic_000", "synthetic_001", "synthetic_002"])
    assert [pixels.shape for pixels in load(run).pixels] == [(3, 72, 72), (3, 76, 72), (3, 80, 72)]


def test_photographs_of_one_name_in_two_folders_are_both_kept(make_run: MakeRun, tmp_path: Path) -> None:
    for number, path in enumerate(("a/1.png", "b/1.png", "b/2.png")):
        (tmp_path / "data" / "photos" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / "photos" / path).write_bytes(synthetic.photographs(3, seed=1)[f"synthetic_{number:03d}"])
    shutil.make_archive(str(tmp_path / "packed" / "photos_256"), "tar", tmp_path / "data" / "photos")
    for root in ("data", "packed"):
        run = dataclasses.replace(make_run(tmp_path / root, "synthetic=false"), data_root=tmp_path / root)
        assert load(run).names == ["2", "a/1.png", "b/1.png"]


def test_a_damaged_picture_is_named(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "data" / "photos").mkdir(parents=True)
    (tmp_path / "data" / "photos" / "torn.png").write_bytes(synthetic.painting("checks")[:99])
    run = dataclasses.replace(make_run(tmp_path, "synthetic=false"), data_root=tmp_path / "data")
    with pytest.raises(DataError, match=r"the photograph torn of photos: .* truncated or damaged"):
        prepare(run)
    painting = tmp_path / "data" / "photos" / "torn.png"
    with pytest.raises(DataError, match=r"the painting .*torn\.png: .* truncated or damaged"):
        add_style.main(make_run(tmp_path, f"painting={painting}"))


@pytest.mark.parametrize("key", ["epochs", "photographs", "crop_px", "learning_rate", "gatys_steps", "net.width"])
def test_numbers_that_make_no_run_are_refused(make_run: MakeRun, tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=f"^{key}: Input should be greater than 0"):
        make_run(tmp_path, f"{key}=0")


def test_squares_are_cut_from_the_smaller_side_to_the_larger(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^crop_from_px is \[64, 32\]: the smaller side comes first"):
        make_run(tmp_path, "crop_from_px=[64,32]")


def test_processes_share_the_photographs_of_a_step_evenly_or_not_at_all(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "launch_fabric", lambda *_: SimpleNamespace(world_size=2))
    with pytest.raises(ConfigError, match="photographs=3 cannot be shared evenly by 2 processes"):
        train.main(make_run(tmp_path, "photographs=3"))


def test_data_that_is_missing_is_named(make_run: MakeRun, tmp_path: Path) -> None:
    run = dataclasses.replace(make_run(tmp_path, "synthetic=false"), data_root=tmp_path)
    with pytest.raises(DataError, match=r"holds none of photos_256\.tar, photos, photographs"):
        train.main(run)


def test_a_run_whose_losses_are_no_numbers_ends_and_keeps_nothing_of_that_epoch(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "learning_rate=1e30", "warmup_steps=0")
    with pytest.raises(InsaneFigure, match=r"the losses of epoch 0 are .* start anew with a lower learning_rate"):
        train.main(run)
    assert not run.checkpoint.exists()
