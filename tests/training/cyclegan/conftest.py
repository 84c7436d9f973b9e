"""One tiny run, trained once for all tests of the recipe."""

from __future__ import annotations

import pytest

import training.recipes.cyclegan as recipe
from tests.training.tiny_runs import MakeRun, finish, maker
from training.kit.run import Run
from training.recipes.cyclegan import evaluate, export, train
from training.recipes.cyclegan.config import Config

SMALLER = ("epoch_steps=8",)


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """A run of the tiny preset in a folder, with overrides."""
    return maker(recipe, Config, *SMALLER)


@pytest.fixture(scope="session")
def finished_run(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Run[Config]:
    """Prepared, trained, evaluated and exported. Read only: several tests share it."""
    return finish(make_run(tmp_path_factory.mktemp("cyclegan")), train, evaluate, export)
