"""Runs of a recipe's tiny preset: the fixtures of every recipe's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from training.kit.config import load_config
from training.kit.run import Run

MakeRun = Callable[..., Run[Any]]


def maker(recipe: ModuleType, config: type[Any], *smaller: str) -> MakeRun:
    """What makes a run in a folder, with overrides; `smaller` are those that every run has."""
    name = recipe.__name__.rpartition(".")[2].replace("_", "-")

    def make(folder: Path, *overrides: str, preset: str = "tiny") -> Run[Any]:
        file = Path(recipe.__path__[0]) / "presets" / f"{preset}.toml"
        loaded = load_config(config, file, [*smaller, *overrides])
        return Run(name, preset, loaded, folder / "run", data_root=None, models=folder / "models")

    return make


def finish(run: Run[Any], *stages: ModuleType) -> Run[Any]:
    """Go through the stages."""
    for stage in stages:
        stage.main(run)
    return run
