"""What a run kept of each epoch, and averages of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import torch
from torch import Tensor

from training.kit import checkpoint
from training.kit.config import ConfigError
from training.kit.data import DataError
from training.recipes.skin_lesion.config import Config

Weights = dict[str, Tensor]


def epoch_files(directory: Path, recipe: str) -> list[Path]:
    """One a trained epoch. Raises DataError where there is none."""
    files = sorted((directory / "epochs").glob("*.pt"))
    if not files:
        raise DataError(f"{directory} holds no trained epoch; run `axon-train {recipe} train` first")
    return files


def ranked_epochs(directory: Path, recipe: str) -> list[dict[str, Any]]:
    """What a run kept of each epoch, the best on validation lesions first. Raises DataError."""
    states = [state for path in epoch_files(directory, recipe) if (state := checkpoint.load(path))]
    return sorted(states, key=lambda state: -state["measured"]["score"])


def config_of(epochs: list[dict[str, Any]], ours: Config, directory: Path) -> Config:
    """The settings of the run that kept these epochs. Raises ConfigError where it was trained on lesions that we choose or measure on."""
    config = pydantic.TypeAdapter(Config).validate_python(epochs[0]["config"])
    held_out, needed = (each.validation_share + each.test_share for each in (config, ours))
    if held_out < needed - 1e-9:
        raise ConfigError(
            f"{directory} held out {held_out:.0%} of the lesions and this run needs {needed:.0%}: "
            "set validation_share and test_share to what its teachers and members left out"
        )
    return config


def average_best(epochs: list[dict[str, Any]], size: int) -> Weights:
    """The mean of the weights of the best `size` of the ranked epochs."""
    return average([state["model"] for state in epochs[:size]])


def average(weights: list[Weights]) -> Weights:
    """The mean of each tensor; counters are taken from the first."""
    return {
        name: torch.stack([part[name] for part in weights]).mean(0) if first.is_floating_point() else first
        for name, first in weights[0].items()
    }
