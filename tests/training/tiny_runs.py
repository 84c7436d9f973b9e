"""Runs of a recipe's tiny preset: the fixtures of every recipe's tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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


def copy_of(finished: Run[Any], run: Run[Any]) -> Run[Any]:
    """`run`, with all that a finished one has left in its folder."""
    shutil.copytree(finished.directory, run.directory)
    return run


def evaluate_other_graph(run: Run[Any]) -> None:
    """Make the run's evaluation one of other weights."""
    path = run.directory / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"graph_sha256": "0" * 64}))


def check_export_is_refused(run: Run[Any], export: ModuleType, error: type[Exception], match: str | None = None) -> None:
    """It raises, and leaves the model repository alone."""
    with pytest.raises(error, match=match):
        export.main(run)
    assert not run.models.exists()
