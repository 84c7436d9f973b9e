"""What a run kept of each epoch, and averages of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.kit import checkpoint
from training.kit.data import DataError

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


def average_best(epochs: list[dict[str, Any]], size: int) -> Weights:
    """The mean of the weights of the best `size` of the ranked epochs."""
    return average([state["model"] for state in epochs[:size]])


def average(weights: list[Weights]) -> Weights:
    """The mean of each tensor; counters are taken from the first."""
    return {
        name: torch.stack([part[name] for part in weights]).mean(0) if first.is_floating_point() else first
        for name, first in weights[0].items()
    }
