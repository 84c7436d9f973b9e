"""The network beside Gatys' method on unseen photographs: the same loss, the same pictures, in float32.

Writes evaluation.json, plots/ and the contact sheet into the run's folder. The yardstick is computed where it is missing.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from training.kit.roc import interval
from training.kit.run import Run
from training.recipes.style_transfer import cost, plots
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import choice_name, load
from training.recipes.style_transfer.losses import PaintingLoss, build_loss
from training.recipes.style_transfer.model import TransformNet
from training.recipes.style_transfer.state import fingerprint, load_network
from training.recipes.style_transfer.yardstick import Descent, compute, test_images

Floats = NDArray[np.float64]
REPLICATES = 2000


def main(run: Run[Config]) -> None:
    config = run.config
    torch.set_num_threads(max(config.threads, 1))
    network, paintings = load_network(run)
    loss = build_loss(run, paintings)
    names, images = test_images(run)
    painted = paint(network, images, len(paintings))  # (N, S + 1, 3, H, W)
    ours = measure(loss, painted[:, :-1], images)  # (N, S)
    untouched = measure(loss, images[:, None].expand(-1, len(paintings), -1, -1, -1), images)
    methods = [config.yardstick, "adam"] if config.compare_adam and config.yardstick != "adam" else [config.yardstick]
    descents = {method: compute(run, loss, paintings, method) for method in methods}
    theirs = {method: measure(loss, pictures_of(found), images) for method, found in descents.items()}
    evaluation: dict[str, Any] = {
        "data": load(run).source | {"splits": {split: len(rows) for split, rows in load(run).splits.items()}},
        "weights": fingerprint(network),
        "photographs": names,
        "px": config.evaluated_px,
        "figures": figures(ours, theirs, config.gatys_steps) | {"neutral_psnr": psnr(painted[:, -1], images)},
        "paintings": by_painting(paintings, ours, theirs, untouched),
        "equal_steps": {method: equal_steps(found, ours) for method, found in descents.items()},
        "cost": cost.compare(network, config.timed_px),
    }
    (run.directory / "evaluation.json").write_text(json.dumps(evaluation, indent=1) + "\n")
    curves = {method: curve(found, config.gatys_steps) for method, found in descents.items()}
    plots.draw(run, network, paintings, images, painted, descents[config.yardstick], curves, float(ours.mean()))
    for name, figure in evaluation["figures"].items():
        print(f"{name}: {figure['value']:.4f} ({figure['ci95'][0]:.4f} to {figure['ci95'][1]:.4f})")


@torch.no_grad()
def paint(network: TransformNet, images: Tensor, paintings: int) -> Tensor:
    """Every photograph in every row, (N, 3, H, W) -> (N, S + 1, 3, H, W), the neutral row last."""
    choices = torch.eye(paintings + 1)
    rows = [network(image.expand(len(choices), -1, -1, -1), choices).clamp(0, 1) for image in tqdm(images.split(1), "ours", mininterval=5)]
    return torch.stack(rows)


@torch.no_grad()
def measure(loss: PaintingLoss, pictures: Tensor, images: Tensor) -> Floats:
    """Total loss of (N, S, 3, H, W), each against its own photograph and painting: (N, S)."""
    conditions = torch.eye(pictures.shape[1] + 1)[:-1]  # (S, S + 1)
    rows = []
    for row, image in zip(pictures, images.split(1), strict=True):
        kept, style = loss(row.contiguous(memory_format=torch.channels_last), loss.perceptual.content(image), conditions)
        rows.append((kept + style).numpy())
    return np.stack(rows).astype(np.float64)


def pictures_of(descents: list[list[Descent]]) -> Tensor:
    return torch.stack([torch.cat([descent.picture for descent in row]) for row in descents])  # (N, S, 3, H, W)


def figures(ours: Floats, theirs: dict[str, Floats], steps: int) -> dict[str, Any]:
    """Mean losses, and ours as a multiple of the yardstick's; the bootstrap draws whole photographs."""
    draws = np.random.default_rng(0).integers(len(ours), size=(REPLICATES, len(ours)))  # (R, N)

    def described(numerator: Floats, denominator: Floats | None = None) -> dict[str, Any]:
        below = np.ones(len(numerator)) if denominator is None else denominator.mean(1)
        above = numerator.mean(1)  # (N,)
        found = interval(above.mean() / below.mean(), above[draws].mean(1) / below[draws].mean(1))
        return {"value": round(found.value, 4), "ci95": [round(found.low, 4), round(found.high, 4)]}

    result = {"total_loss": described(ours)}
    for method, losses in theirs.items():
        result[f"gatys_{method}_{steps}_total_loss"] = described(losses)
        result[f"total_loss_over_gatys_{method}_{steps}"] = described(ours, losses)
    return result


def psnr(neutral: Tensor, images: Tensor) -> dict[str, Any]:
    """How near the neutral row comes to the photograph, in decibels (the mean of the photographs')."""
    values = -10 * (neutral - images).square().mean((1, 2, 3)).clamp(min=1e-10).log10().numpy().astype(np.float64)  # (N,)
    draws = np.random.default_rng(0).integers(len(values), size=(REPLICATES, len(values)))
    found = interval(values.mean(), values[draws].mean(1))
    return {"value": round(found.value, 2), "ci95": [round(found.low, 2), round(found.high, 2)]}


def by_painting(paintings: list[str], ours: Floats, theirs: dict[str, Floats], untouched: Floats) -> dict[str, Any]:
    """Mean losses of each painting: ours, the yardstick's, and the photograph's own before anything is done to it."""
    return {
        choice_name(painting): {
            "photograph": round(float(untouched[:, i].mean()), 4),
            "ours": round(float(ours[:, i].mean()), 4),
            **{method: round(float(losses[:, i].mean()), 4) for method, losses in theirs.items()},
        }
        for i, painting in enumerate(paintings)
    }


def curve(descents: list[list[Descent]], steps: int) -> Floats:
    """The yardstick's mean loss before each step, (steps,)."""
    losses: Floats = np.array([descent.losses[:steps] for row in descents for descent in row]).mean(0)
    return losses


def equal_steps(descents: list[list[Descent]], ours: Floats) -> float:
    """The median of the steps after which the yardstick is as low as one pass of ours; one that never is counts as all its steps."""
    counts = []
    for row, losses in zip(descents, ours, strict=True):
        for descent, reached in zip(row, losses, strict=True):
            lower = np.flatnonzero(np.array(descent.losses) <= reached)
            counts.append(int(lower[0]) if len(lower) else len(descent.losses))
    return float(np.median(counts))
