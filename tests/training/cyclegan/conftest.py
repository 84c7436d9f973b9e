"""One tiny run, trained once for all tests of the recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import training.recipes.cyclegan as recipe
from training.kit.config import load_config
from training.kit.run import Run
from training.recipes.cyclegan import evaluate, export, train
from training.recipes.cyclegan.config import Config

MakeRun = Callable[..., Run[Config]]


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """A run of the tiny preset in a folder, with overrides."""

    def make(folder: Path, *overrides: str) -> Run[Config]:
        preset = Path(recipe.__path__[0]) / "presets" / "tiny.toml"
        config = load_config(Config, preset, list(overrides))
        return Run("cyclegan", "tiny", config, folder / "run", data_root=None, models=folder / "models")

    return make


@pytest.fixture(scope="session")
def finished_run(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Run[Config]:
    """Prepared, trained, evaluated and exported. Read only: several tests share it."""
    run = make_run(tmp_path_factory.mktemp("cyclegan"))
    train.main(run)
    evaluate.main(run)
    export.main(run)
    return run
