"""The tiny preset from nothing to a proved model, resumed after a kill, and made longer."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from app.contract.manifest import load_manifest
from tests.training.cyclegan.conftest import SMALLER, MakeRun
from tests.training.processes import kill_once_written
from tests.training.tiny_runs import copy_of
from training.kit.config import ConfigError, config_dict
from training.kit.data import DataError
from training.kit.export import open_session
from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.kit.sanity import InsaneFigure
from training.recipes.cyclegan import card, export, graph, step, train
from training.recipes.cyclegan.archive import find_heaps
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import load, stored_processor
from training.recipes.cyclegan.state import PLATEAU, load_generators, resume
from training.recipes.cyclegan.step import start


def model_folder(run: Run[Config]) -> Path:
    return run.models / run.config.name / "1"


def answer(run: Run[Config], pixels: np.ndarray, direction: int) -> np.ndarray:
    inputs = {"pixel_values": pixels, "condition": graph.one_hot(len(pixels), direction)}
    return open_session(model_folder(run) / "model.onnx").run(["reconstruction"], inputs)[0]


def noise(batch: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (batch, 3, height, width), dtype=np.uint8)


def test_the_exported_model_is_accepted_by_the_contract(finished_run: Run[Config]) -> None:
    manifest = load_manifest(model_folder(finished_run))
    assert manifest.condition is not None
    assert manifest.condition.names == ("plain-to-striped", "striped-to-plain")
    assert manifest.condition.mixable is False
    assert "synthetic" in manifest.provenance.data[0].name


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 321, 257), (3, 64, 64), (2, 16, 17), (1, 18, 90)])
def test_an_answer_has_the_size_of_its_picture_whatever_it_is(finished_run: Run[Config], batch: int, height: int, width: int) -> None:
    for direction in (0, 1):
        answered = answer(finished_run, noise(batch, height, width), direction)
        assert answered.shape == (batch, 3, height, width)
        assert 0 <= answered.min() < answered.max() <= 1


def test_each_direction_is_its_own_generator(finished_run: Run[Config]) -> None:
    pixels, (generators, _) = noise(1, 30, 41), load_generators(finished_run)
    for direction, generator in enumerate((generators.generator_ab, generators.generator_ba)):
        with torch.no_grad():
            expected = graph.Direction(generator)(torch.from_numpy(pixels)).numpy()
        np.testing.assert_allclose(answer(finished_run, pixels, direction), expected, atol=5e-3)  # weights are stored in float16
    assert np.abs(answer(finished_run, pixels, 0) - answer(finished_run, pixels, 1)).max() > 0.02


def test_an_answer_does_not_depend_on_its_batch_mates(finished_run: Run[Config]) -> None:
    pixels = noise(3, 37, 50)
    together = answer(finished_run, pixels, 1)
    alone = np.concatenate([answer(finished_run, row[None], 1) for row in pixels])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_weights_are_stored_in_float16(finished_run: Run[Config]) -> None:
    path = model_folder(finished_run) / "model.onnx"
    parameters = sum(parameter.numel() for parameter in load_generators(finished_run)[0].parameters())
    branches = [attribute.g for node in onnx.load(path).graph.node if node.op_type == "If" for attribute in node.attribute]
    stored = [np.prod(tensor.dims) for branch in branches for tensor in branch.initializer if tensor.data_type == onnx.TensorProto.FLOAT16]
    assert sum(stored) > 0.9 * parameters


def test_the_golden_request_gives_the_golden_answer(finished_run: Run[Config]) -> None:
    folder = model_folder(finished_run)
    manifest = load_manifest(folder)
    pixels = manifest.processor.preprocess((folder / manifest.golden.request).read_bytes())
    answered = answer(finished_run, pixels[None], 0)
    np.testing.assert_allclose(answered, np.load(folder / manifest.golden.outputs)["reconstruction"], atol=manifest.golden.atol)


def test_training_decodes_a_picture_as_the_server_does(finished_run: Run[Config]) -> None:
    """The server's pixels of a picture, shrunk to the size that training keeps, are the pixels that training keeps."""
    domains, (heap, _) = load(finished_run), find_heaps(finished_run)
    served, kept = load_manifest(model_folder(finished_run)).processor, stored_processor(finished_run.config)
    for row, name in enumerate(domains.a.names[:5]):
        pixels = served.preprocess(heap.read(name))
        shrunk = kept.to_pixels(Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))))
        np.testing.assert_array_equal(domains.a.pixels[row], shrunk)


def test_the_manifest_states_each_figure_in_both_ways_with_its_count_and_interval(finished_run: Run[Config]) -> None:
    manifest = load_manifest(model_folder(finished_run))
    for direction in ("plain-to-striped", "striped-to-plain"):
        for name in ("frechet_distance", "kernel_distance", "cycle_error"):
            found = [metric for metric in manifest.metrics if metric.name == name and f"; {direction};" in (metric.note or "")]
            assert len(found) == 2
            assert found[0].value == pytest.approx(found[1].value, abs=0.01 * max(1, abs(found[1].value)))
            for metric in found:
                assert metric.ci95 is not None
                assert metric.ci95[0] <= metric.value <= metric.ci95[1]
                assert "lambda_identity 0.5" in (metric.note or "")
        floors = {metric.name for metric in manifest.metrics if f"; {direction};" in (metric.note or "")}
        assert floors >= {"frechet_distance_untranslated", "frechet_distance_real", "frechet_ratio_to_untranslated"}


def test_the_card_of_horse2zebra_states_the_run_s_own_figures() -> None:
    metrics = [{"name": "frechet_ratio_to_untranslated", "value": value} for value in (0.437, 0.7)]
    about = card.horse2zebra(256, {"metrics": metrics}, duration_s=2.5 * 3600)
    said = " ".join(about.limitations)
    assert all(words in said for words in ("0.44 times", "2.5 hours", "256 px"))
    assert "9 minutes" in " ".join(card.horse2zebra(128, {"metrics": metrics}, duration_s=528).limitations)


def test_a_run_leaves_pictures_to_look_at(finished_run: Run[Config]) -> None:
    assert len(list((finished_run.directory / "samples").glob("epoch-*.png"))) == finished_run.config.epochs
    names = {path.name for path in (finished_run.directory / "plots").iterdir()}
    assert names == {"adversarial.png", "cycle.png", "contact_sheet.jpg"}


def test_discriminators_may_judge_pixels_as_in_the_paper(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "net.features=[]", "epochs=1", "epoch_steps=20")
    train.main(run)
    (row,) = RunLog(run.directory, quiet=True).rows()
    assert 0 < row["discriminator_a"] < 0.5  # half of 1, were it always wrong


def test_a_pool_that_is_smaller_than_a_batch_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^pool_size is 2: a pool holds at least a batch, 3, or nothing"):
        make_run(tmp_path, "pool_size=2", "batch_size=3")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("name=Apple_2", "name='Apple_2' names no model: lower-case letters"),
        ("name_a=red apple", "name_a='red apple' names no domain: .* such as red-apple"),
        ("name_b=plain", "name_a and name_b are both 'plain'"),
        ("crop_size=37", "crop_size=37 is more than the 36 px of a kept picture"),
        *((f"{key}=0", f"{key}: Input should be greater than 0") for key in ("batch_size", "identity_every", "epochs", "epoch_steps")),
        ("learning_rate=-1", "learning_rate: Input should be greater than 0"),
        ("net.generator_channels=0", "net.generator_channels: Input should be greater than 0"),
    ],
)
def test_a_setting_that_makes_no_run_is_refused_before_anything_is_done(
    make_run: MakeRun, tmp_path: Path, override: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=f"^{says}"):
        make_run(tmp_path, override)


def test_the_longest_names_of_domains_make_directions_that_a_manifest_takes(make_run: MakeRun, tmp_path: Path) -> None:
    config = make_run(tmp_path, f"name_a={'a' * 30}", f"name_b={'b' * 30}").config
    assert len(export.condition(config).names[0]) == 64
    with pytest.raises(ConfigError, match="name_a"):
        make_run(tmp_path, f"name_a={'a' * 31}")


def test_a_run_goes_on_with_the_settings_that_it_was_trained_with_or_not_at_all(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path
) -> None:
    def changed(*overrides: str) -> Run[Config]:
        return replace(make_run(tmp_path, *overrides), directory=finished_run.directory)

    for override, says in (("learning_rate=0.1", "learning_rate=0.0002, not 0.1"), ("net.features=[]", "net.features=")):
        for go_on in (train.main, load_generators):
            with pytest.raises(ConfigError, match=f"was trained with {says}"):
                go_on(changed(override))
    state = start(finished_run.config, launch_fabric())
    resume(changed("epochs=9", "small_epochs=2", "threads=1", "name=blobs"), state, torch.device("cpu"))
    assert state.epoch == 1  # the end of its plateau
    load_generators(changed("peak=0", "crop_size=24", "decay_epochs=0"))


def test_a_manifest_names_the_settings_of_the_training_whatever_was_exported(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path
) -> None:
    run = copy_of(finished_run, make_run(tmp_path, "epochs=9", "decay_epochs=1"))
    export.main(run)
    provenance = load_manifest(model_folder(run)).provenance
    assert provenance is not None
    assert (provenance.config["epochs"], provenance.config["peak"]) == (3, 6.0)


def test_a_run_whose_losses_are_no_numbers_keeps_the_checkpoint_before_it(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copy_of(finished_run, make_run(tmp_path, "epochs=5"))
    kept, real_loss = run.checkpoint.read_bytes(), step.real_loss
    monkeypatch.setattr(step, "real_loss", lambda judged: real_loss(judged) * float("nan"))
    with pytest.raises(InsaneFigure, match=r"the losses of epoch \d are .* start anew with a lower learning_rate"):
        train.main(run)
    assert run.checkpoint.read_bytes() == kept


def test_discriminators_that_learnt_through_vgg19_name_it_among_their_sources(finished_run: Run[Config], tmp_path: Path) -> None:
    (tmp_path / "vgg19.safetensors").write_bytes(b"weights")
    config = replace(finished_run.config, synthetic_pictures=0, vgg19="vgg19.safetensors")
    run, domains = replace(finished_run, config=config, data_root=tmp_path), load(finished_run)
    found = export.sources(run, domains)
    assert [source.name for source in found] == ["synthetic blobs", "synthetic blobs", "VGG19"]
    assert found[-1].licence == "CC-BY-4.0"
    pixels_alone = replace(run, config=replace(config, net=replace(config.net, features=())))
    assert found[:-1] == export.sources(pixels_alone, domains) == export.sources(finished_run, domains)


def test_a_run_that_was_killed_goes_on_to_the_same_result(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    arguments = ["cyclegan", "train", "--preset", "tiny", "--run-folder", str(run.directory), *SMALLER]
    kill_once_written(run.checkpoint, arguments)
    assert len(RunLog(run.directory, quiet=True).rows()) < run.config.epochs
    train.main(run)
    resumed, whole = (torch.load(each.checkpoint, weights_only=True) for each in (run, finished_run))
    for part in ("generators", "discriminators", "average"):
        for name, tensor in whole[part].items():
            torch.testing.assert_close(resumed[part][name], tensor, rtol=1e-4, atol=1e-5)
    for pool in ("pool_a", "pool_b"):
        torch.testing.assert_close(resumed[pool], whole[pool], rtol=1e-4, atol=1e-4)


def test_a_run_that_is_made_longer_goes_on_from_its_plateau(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    longer = make_run(tmp_path, "epochs=4")
    shutil.copytree(finished_run.directory, longer.directory)
    train.main(longer)
    fresh = make_run(tmp_path / "fresh", "epochs=4")
    train.main(fresh)
    made_longer, whole = (torch.load(each.checkpoint, weights_only=True) for each in (longer, fresh))
    assert made_longer["epoch"] == whole["epoch"] == 4
    for name, tensor in whole["generators"].items():
        torch.testing.assert_close(made_longer["generators"][name], tensor, rtol=1e-4, atol=1e-5)


def test_a_run_that_is_made_longer_on_its_plateau_goes_on_from_where_it_is(
    finished_run: Run[Config], make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run(tmp_path, "epochs=12")
    shutil.copytree(finished_run.directory, run.directory)  # which keeps the end of a plateau of one epoch
    finished = torch.load(run.checkpoint, weights_only=True)
    torch.save(finished | {"epochs": 9}, run.checkpoint)
    state = start(run.config, launch_fabric())
    resume(run, state, torch.device("cpu"))
    assert state.epoch == finished["epoch"] == 3


def test_a_run_that_is_cut_short_keeps_the_end_of_its_plateau(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, "epochs=2", "decay_epochs=1")
    run.directory.mkdir(parents=True)
    planned_longer = torch.load(finished_run.directory / PLATEAU, weights_only=True) | {"epochs": 9}
    torch.save(planned_longer, run.checkpoint)
    train.main(run)
    kept, end = (torch.load(path, weights_only=True)["epoch"] for path in (run.directory / PLATEAU, run.checkpoint))
    assert (kept, end) == (1, 2)


def test_a_wider_run_begins_where_a_finished_one_ended(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(tmp_path, f"start_from={finished_run.directory}", "net.generator_channels=12", "epochs=1")
    state = start(run.config, launch_fabric())
    resume(run, state, torch.device("cpu"))
    narrow, finished = load_generators(replace(finished_run, config=replace(finished_run.config, peak=0.0)))
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for wide in (state.generators, state.average.module):
        torch.testing.assert_close(wide.generator_ab(x), narrow.generator_ab(x), rtol=1e-3, atol=1e-4)
    judges = torch.load(finished_run.checkpoint, weights_only=True)["discriminators"]
    assert all(torch.equal(tensor, judges[name]) for name, tensor in state.discriminators.state_dict().items())
    assert (state.epoch, state.duration_s) == (0, finished["duration_s"])
    train.main(run)
    progress = load_generators(run)[1]
    assert progress["duration_s"] > finished["duration_s"]
    config = config_dict(finished_run.config)
    assert export.started_from(progress) == {"started_from": {"epochs": 3, "config": config, "started_from": None}}
    assert export.run_folders(run, progress["started_from"]) == [run.directory, finished_run.directory]


def test_a_run_does_not_begin_with_networks_that_do_not_fit(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    for override in ("net.generator_channels=4", "net.blocks=3", "net.discriminator_channels=16", 'net.features=["conv1_2","conv2_1"]'):
        run = make_run(tmp_path, f"start_from={finished_run.directory}", override)
        with pytest.raises(ConfigError, match="other networks than `net`"):
            resume(run, start(run.config, launch_fabric()), torch.device("cpu"))
    unfinished = tmp_path / "unfinished" / finished_run.checkpoint.name
    unfinished.parent.mkdir()
    torch.save(torch.load(finished_run.checkpoint, weights_only=True) | {"epoch": 2}, unfinished)
    run = make_run(tmp_path, f"start_from={unfinished.parent}")
    with pytest.raises(DataError, match="has done 2 of its 3 epochs"):
        resume(run, start(run.config, launch_fabric()), torch.device("cpu"))
    run = make_run(tmp_path, "start_from=../nothing")
    with pytest.raises(DataError, match="start_from names the folder of a finished run"):
        resume(run, start(run.config, launch_fabric()), torch.device("cpu"))


def test_export_refuses_weights_that_were_not_evaluated(finished_run: Run[Config], make_run: MakeRun, tmp_path: Path) -> None:
    """And the model that is in the repository stays whole."""
    run = make_run(tmp_path)
    shutil.copytree(finished_run.directory, run.directory)
    shutil.copytree(finished_run.models, run.models)
    state = torch.load(run.checkpoint, weights_only=True)
    state["average"]["module.generator_ab.colours.bias"] += 0.01
    torch.save(state, run.checkpoint)
    with pytest.raises(DataError, match="evaluate` again"):
        export.main(run)
    assert load_manifest(model_folder(run)) == load_manifest(model_folder(finished_run))


def test_a_run_without_training_says_what_to_do(make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="axon-train cyclegan train"):
        load_generators(make_run(tmp_path))
