"""Gatys' method on two drawn pictures, and on files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import training.recipes.gatys as recipe
from training.kit.config import ConfigError, load_config
from training.kit.data import DataError
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.nets.image_descent import ImageDescent, Optimizer
from training.recipes.gatys import data, evaluate, train
from training.recipes.gatys.config import Config


def make_run(folder: Path, *overrides: str, preset: str = "tiny") -> Run[Config]:
    config = load_config(Config, Path(recipe.__path__[0]) / "presets" / f"{preset}.toml", list(overrides))
    return Run("gatys", preset, config, folder / "run", data_root=None)


@pytest.fixture
def two_files(tmp_path: Path) -> tuple[str, str]:
    """A photograph of 60 x 40 px and a painting of 30 x 90."""
    draw = np.random.default_rng(0)
    for name, shape in (("photo.png", (40, 60, 3)), ("painting.png", (90, 30, 3))):
        Image.fromarray(draw.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / name)
    return f"content={tmp_path / 'photo.png'}", f"style={tmp_path / 'painting.png'}"


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_image_comes_nearer_to_the_painting_and_is_saved_on_the_way(optimizer: Optimizer, tmp_path: Path) -> None:
    run = make_run(tmp_path, f"optimizer={optimizer}", "learning_rate=0.05")
    train.main(run)
    evaluate.main(run)
    losses = json.loads((run.directory / "evaluation.json").read_text())
    assert losses["photograph"]["content"] == 0
    assert losses["result"]["loss"] < 0.5 * losses["photograph"]["loss"]
    assert sorted(path.name for path in (run.directory / "pictures").iterdir()) == ["00004.png", "00008.png", "00012.png"]
    assert [row["epoch"] for row in RunLog(run.directory, quiet=True).rows()] == [3, 7, 11]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_run_that_stopped_goes_on_to_the_same_picture(optimizer: str, tmp_path: Path) -> None:
    whole, parted = make_run(tmp_path / "whole", f"optimizer={optimizer}"), make_run(tmp_path / "parted", f"optimizer={optimizer}")
    train.main(whole)
    train.main(dataclasses.replace(parted, config=dataclasses.replace(parted.config, steps=4)))
    train.main(parted)
    assert (whole.directory / "result.png").read_bytes() == (parted.directory / "result.png").read_bytes()


def test_other_settings_in_the_same_folder_start_anew(tmp_path: Path) -> None:
    train.main(make_run(tmp_path))
    again = make_run(tmp_path, "style_weight=0", "variation_weight=0", "steps=1")
    train.main(again)
    assert RunLog(again.directory, quiet=True).rows()[-1]["loss"] == 0  # the photograph itself: only its content counts


def test_another_picture_under_the_same_name_starts_anew(two_files: tuple[str, str], tmp_path: Path) -> None:
    run = make_run(tmp_path, *two_files)
    train.main(run)
    first = (run.directory / "result.png").read_bytes()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(run.config.content)
    with pytest.raises(DataError, match="is not of this photograph and this painting"):
        evaluate.main(run)
    train.main(run)
    assert (run.directory / "result.png").read_bytes() != first
    evaluate.main(run)


def test_fewer_steps_than_a_picture_has_had_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    train.main(run)
    kept = (run.directory / "result.png").read_bytes()
    with pytest.raises(ConfigError, match=r"holds this picture after 12 steps, not 4: .* give --run another folder"):
        train.main(make_run(tmp_path, "steps=4"))
    assert (run.directory / "result.png").read_bytes() == kept


def test_a_damaged_picture_is_named(two_files: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "painting.png").write_bytes((tmp_path / "painting.png").read_bytes()[:99])
    with pytest.raises(DataError, match=r"painting\.png: .* truncated or damaged"):
        data.prepare(make_run(tmp_path, *two_files))


@pytest.mark.parametrize("override", ["picture_every=0", "steps=-3", "size_px=0", "learning_rate=0", "style_weight=-1"])
def test_numbers_that_make_no_run_are_refused(override: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^{override.partition('=')[0]}: Input should be greater than"):
        make_run(tmp_path, override)


def test_files_are_read_in_the_sizes_of_the_run(two_files: tuple[str, str], tmp_path: Path) -> None:
    pictures = data.load(make_run(tmp_path, *two_files, "size_px=30", "painting_px=20"))
    assert tuple(pictures.content.shape) == (1, 3, 20, 30)
    assert tuple(pictures.style.shape) == (1, 3, 60, 20)


def test_a_picture_that_is_missing_is_named(two_files: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"style: there is no file nowhere\.jpg"):
        data.load(make_run(tmp_path, two_files[0], "style=nowhere.jpg"))
    with pytest.raises(DataError, match=r"name two pictures: axon-train gatys train --content photo\.jpg"):
        data.load(make_run(tmp_path, preset="full"))


def test_an_evaluation_of_another_photograph_is_refused(two_files: tuple[str, str], tmp_path: Path) -> None:
    train.main(make_run(tmp_path))
    with pytest.raises(DataError, match="is not of this photograph"):
        evaluate.main(make_run(tmp_path, *two_files))


def test_the_papers_layers_are_a_preset(tmp_path: Path) -> None:
    config = make_run(tmp_path, preset="paper").config
    assert config.content_layer == "conv4_2"
    assert list(config.style_layers) == ["conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"]


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_pixel_at_its_limit_may_come_back(optimizer: Optimizer) -> None:
    descent = ImageDescent(torch.full((1, 3, 2, 2), 1.5), lambda image: (image - 0.5).square().sum(), optimizer, 0.1)
    for _ in range(60):
        descent.step()
    torch.testing.assert_close(descent.picture, torch.full((1, 3, 2, 2), 0.5), atol=0.05, rtol=0)
