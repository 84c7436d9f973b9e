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

PRESETS = Path(__file__).parent / "presets"
Weights = dict[str, Tensor]


def epoch_files(directory: Path, recipe: str) -> list[Path]:
    """One a trained epoch. Raises DataError where there is none."""
    folder = directory.resolve()  # RUN/../teacher is found, also before there is a RUN
    files = sorted((folder / "epochs").glob("*.pt"))
    if not files:
        preset = folder.name if (PRESETS / f"{folder.name}.toml").is_file() else "ITS-PRESET"
        raise DataError(f"{folder} holds no trained epoch; run `axon-train {recipe} train --preset {preset} --run {folder}` first")
    return files


def ranked_epochs(directory: Path, recipe: str) -> list[dict[str, Any]]:
    """What a run kept of each epoch, the best on validation lesions first. Raises DataError."""
    states = [state for path in epoch_files(directory, recipe) if (state := checkpoint.load(path))]
    return sorted(states, key=lambda state: -state["measured"]["score"])


def config_of(epochs: list[dict[str, Any]], ours: Config, directory: Path) -> Config:
    """The settings of the run that kept these epochs.

    Raises ConfigError where an epoch was trained on lesions that we choose or measure on, or measured on some of our test lesions.
    """
    configs = [pydantic.TypeAdapter(Config).validate_python(state["config"]) for state in epochs]
    held_out, tested = (min(share) for share in zip(*((c.validation_share + c.test_share, c.test_share) for c in configs), strict=True))
    needed = ours.validation_share + ours.test_share
    if held_out < needed - 1e-9:
        raise ConfigError(
            f"{directory} held out {held_out:.0%} of the lesions and this run needs {needed:.0%}: "
            "set validation_share and test_share to what was left out when it was trained"
        )
    if tested < ours.test_share - 1e-9:
        raise ConfigError(
            f"{directory} left {tested:.0%} of the lesions for its test and this run tests on {ours.test_share:.0%}, "
            "on some of which its epochs were measured: set test_share to what it left"
        )
    return configs[0]


def seconds_by_run(directory: Path, recipe: str) -> dict[Path, float]:
    """What a run took, and each run that it learnt from, and so on; teachers whose folders are gone are left out. Raises DataError."""
    last = checkpoint.load(epoch_files(directory, recipe)[-1]) or {}
    seconds = {directory.resolve(): float(last["duration_s"])}
    for teacher in last["config"].get("teachers", ()):
        if (directory / teacher / "epochs").is_dir():
            seconds |= seconds_by_run(directory / teacher, recipe)
    return seconds


def average_best(epochs: list[dict[str, Any]], size: int) -> Weights:
    """The mean of the weights of the best `size` of the ranked epochs."""
    return average([state["model"] for state in epochs[:size]])


def halved(weights: Weights) -> Weights:
    """The matrices as float16, which is what ships of their average; an epoch's file is half the size. Normalisation and biases stay."""
    return {name: tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor for name, tensor in weights.items()}


def average(weights: list[Weights]) -> Weights:
    """The mean of each tensor, in float32; counters are taken from the first."""
    return {
        name: torch.stack([part[name].float() for part in weights]).mean(0) if first.is_floating_point() else first
        for name, first in weights[0].items()
    }
