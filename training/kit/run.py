"""A run: one recipe, one preset, one folder in which everything that it writes lands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Config = TypeVar("Config")


@dataclass(frozen=True)
class Run(Generic[Config]):
    """What every recipe's `prepare`, `train`, `evaluate` and `export` receive."""

    recipe: str  # "skin-lesion"
    preset: str  # "full"
    config: Config
    directory: Path  # checkpoints, log.jsonl, plots and evaluation.json
    data_root: Path | None  # None: the preset makes its own synthetic data
    models: Path = Path("models")  # the model repository that `export` writes into

    @property
    def checkpoint(self) -> Path:
        return self.directory / "checkpoint.pt"
