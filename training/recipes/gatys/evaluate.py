"""The losses of the finished picture as it was saved, in eight bits, beside those of the photograph it began as.

Writes evaluation.json and plots/loss.png into the run's folder.
"""

from __future__ import annotations

import json

import torch
from torch import Tensor

from app.contract.images import decode
from training.kit import checkpoint
from training.kit.data import DataError
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.gatys.config import Config
from training.recipes.gatys.data import load, to_tensor
from training.recipes.gatys.model import GatysLoss, load_features
from training.recipes.gatys.train import settings

PARTS = ("content", "style", "variation")


def main(run: Run[Config]) -> None:
    path = run.directory / "result.png"
    if not path.is_file():
        raise DataError(f"{path} is missing: run `axon-train {run.recipe} train` with this preset and these pictures first")
    pictures = load(run)
    result = to_tensor(decode(path.read_bytes()))
    if result.shape != pictures.content.shape or not is_of_these_pictures(run):
        raise DataError(f"{path} is not of this photograph and this painting: run `axon-train {run.recipe} train` with them first")
    losses = GatysLoss(load_features(run), pictures, run.config)
    evaluation = {name: measure(losses, image) for name, image in (("photograph", pictures.content), ("result", result))}
    (run.directory / "evaluation.json").write_text(json.dumps(evaluation, indent=1) + "\n")
    (run.directory / "plots").mkdir(exist_ok=True)
    RunLog(run.directory, quiet=True).plot(run.directory / "plots" / "loss.png", ["loss", *PARTS])
    for name, figures in evaluation.items():
        print(f"{name}: " + "  ".join(f"{key} {value:.4f}" for key, value in figures.items()))


def is_of_these_pictures(run: Run[Config]) -> bool:
    """True where the checkpoint does not tell: those of before 27 November 2026 knew the files' names alone."""
    made, wanted = (checkpoint.load(run.checkpoint) or {}).get("settings", {"content": ""}), settings(run.config)
    return "content" in made or all(made.get(key) == wanted.get(key) for key in ("content_sha256", "style_sha256"))


@torch.no_grad()
def measure(losses: GatysLoss, image: Tensor) -> dict[str, float]:
    """Each part of the loss, times its weight, and their sum; in float32."""
    parts: list[float] = losses(image).tolist()
    return {"loss": sum(parts), **dict(zip(PARTS, parts, strict=True))}
