"""One tiny run, trained once for all tests of the recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import training.recipes.style_transfer as recipe
from training.kit.config import load_config
from training.kit.run import Run
from training.recipes.style_transfer import evaluate, export, train
from training.recipes.style_transfer.config import Config

MakeRun = Callable[..., Run[Config]]


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """A run of the tiny preset in a folder, with overrides."""

    def make(folder: Path, *overrides: str, preset: str = "tiny") -> Run[Config]:
        config = load_config(Config, Path(recipe.__path__[0]) / "presets" / f"{preset}.toml", list(overrides))
        return Run("style-transfer", preset, config, folder / "run", data_root=None, models=folder / "models")

    return make


@pytest.fixture(scope="session")
def finished_run(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Run[Config]:
    """Prepared, trained, evaluated and exported. Read only: several tests share it."""
    run = make_run(tmp_path_factory.mktemp("style-transfer"))
    train.main(run)
    evaluate.main(run)
    export.main(run)
    return run
