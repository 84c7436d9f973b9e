"""Checkpoints that survive a kill at any moment, and bring a run back to exactly where it was.

A recipe saves at the end of an epoch and seeds every epoch from (seed, epoch), so the epoch that a
kill interrupted is done again from the same weights with the same draws: the result is the same.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Write whole or not at all: a temporary file, fsync, then one atomic rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def averaged(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The weights that an `AveragedModel` left in `state["average"]`, by the names that the network itself has for them."""
    return {name.removeprefix("module."): value for name, value in state["average"].items() if name.startswith("module.")}


def load(path: Path) -> dict[str, Any] | None:
    """The saved state on the CPU, or None when there is none. Tensors and plain data only: no pickled code."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
