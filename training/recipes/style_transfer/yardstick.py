"""`axon-train style-transfer yardstick`: Gatys' method on the test photographs, on the same loss. `evaluate` compares with it.

It needs no trained network, takes the longest of all, and keeps every picture that it finishes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from training.kit import checkpoint
from training.kit.config import config_dict
from training.kit.data import DataError
from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.nets.image_descent import ImageDescent, Optimizer
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import choice_name, load, painting_file
from training.recipes.style_transfer.losses import PaintingLoss, build_loss
from training.recipes.style_transfer.sheets import centre_squares


@dataclass(frozen=True)
class Descent:
    """One photograph in one painting's manner, by optimising the image."""

    losses: list[float]  # before each step
    picture: Tensor  # (1, 3, H, W) in [0, 1], after `gatys_steps`
    last_picture: Tensor  # after `sheet_steps` where it is in the contact sheet


def main(run: Run[Config]) -> None:
    compute(run, build_loss(run, run.config.paintings), list(run.config.paintings), run.config.yardstick)


def test_images(run: Run[Config]) -> tuple[list[str], Tensor]:
    """The evaluated photographs, drawn from the test split: their names, and squares (N, 3, px, px) in [0, 1]."""
    photographs = load(run)
    numbers = np.random.default_rng(0).permutation(photographs.splits["test"])[: run.config.evaluated_photographs]
    return [photographs.names[i] for i in numbers], centre_squares(photographs, numbers, run.config.evaluated_px)


def compute(run: Run[Config], loss: PaintingLoss, paintings: list[str], optimizer: Optimizer) -> list[list[Descent]]:
    """[photograph][painting]; what an earlier call finished is read back. Painting i with photograph i (mod N) is for the contact sheet."""
    config, fabric = run.config, launch_fabric(run.config.threads)  # in float32, whatever trained the network
    names, images = test_images(run)
    loss = loss.to(fabric.device)
    pairs = [(number, place) for number in range(len(names)) for place in range(len(paintings))]
    found: list[list[Descent]] = [[] for _ in names]
    for number, place in tqdm(pairs, f"Gatys, {optimizer}", mininterval=5):
        path = descent_file(run, optimizer, names[number], paintings[place])
        steps = max(config.sheet_steps, config.gatys_steps) if number == place % len(names) else config.gatys_steps
        settings = settings_of(run, paintings[place], images[number])
        state = checkpoint.load(path)
        if state is None or state["settings"] != settings or len(state["losses"]) < steps:
            state = descend(fabric.device, loss, images[number : number + 1], place, optimizer, config, steps) | {"settings": settings}
            checkpoint.save(path, state)
        found[number].append(Descent(state["losses"], state["picture"], state["last_picture"]))
    return found


def read(run: Run[Config], paintings: list[str], optimizer: Optimizer) -> list[list[Descent]]:
    """What `evaluate` computed, as it is. Raises DataError where some is missing."""
    found = []
    for name in test_images(run)[0]:
        states = [checkpoint.load(descent_file(run, optimizer, name, painting)) for painting in paintings]
        if None in states:
            raise DataError(f"the yardstick of {name} is missing; run `axon-train {run.recipe} evaluate` again")
        found.append([Descent(state["losses"], state["picture"], state["last_picture"]) for state in states if state])
    return found


def descent_file(run: Run[Config], optimizer: Optimizer, photograph: str, painting: str) -> Path:
    return run.directory / "yardstick" / optimizer / f"{photograph}-{choice_name(painting)}.pt"


def settings_of(run: Run[Config], painting: str, image: Tensor) -> dict[str, Any]:
    """Everything that a descent depends on, but for its number of steps."""
    config = run.config
    return {
        "loss": config_dict(config.loss),
        "px": config.evaluated_px,
        "painting_px": config.painting_px,
        "gatys_steps": config.gatys_steps,
        "learning_rate": config.yardstick_learning_rate,
        "painting_sha256": hashlib.sha256(painting_file(run, painting)).hexdigest(),
        "photograph_sha256": hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest(),
    }


def descend(
    device: torch.device, loss: PaintingLoss, image: Tensor, place: int, optimizer: Optimizer, config: Config, steps: int
) -> dict[str, Any]:
    condition = torch.eye(len(loss.weights) + 1, device=device)[place : place + 1]  # (1, S + 1)
    image = image.to(device)
    content = loss.perceptual.content(image)

    def total(painted: Tensor) -> Tensor:
        kept, style = loss(painted, content, condition)
        return (kept + style).sum()

    descent = ImageDescent(image, total, optimizer, config.yardstick_learning_rate)
    losses, picture = [], image
    for step in range(steps):
        losses.append(descent.step())
        if step + 1 == config.gatys_steps:
            picture = descent.picture
    return {"losses": losses, "picture": picture.cpu(), "last_picture": descent.picture.cpu()}
