"""A run's weights: saved and brought back in the middle of training, and loaded when it is done, with the styles added since."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.kit import checkpoint
from training.kit.config import config_dict, refuse_other_config
from training.kit.data import DataError
from training.kit.half import rounded
from training.kit.run import Run
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import choice_name
from training.recipes.style_transfer.model import TransformNet, style_rows, with_new_style
from training.recipes.style_transfer.shipped import read_exported

# Settings that may differ from those of the checkpoint that a run goes on from, or is evaluated by.
PLAN = ("epochs", "small_epochs", "cooldown_share")  # made anew for a longer or a shorter run
MACHINE = ("threads", "precision")
EVALUATION = ("evaluated_photographs", "evaluated_px", "compare_adam", "sheet_steps", "timed_px")
YARDSTICK = ("yardstick", "yardstick_learning_rate", "gatys_steps")
ADDED = ("painting", "added_steps", "added_learning_rate")
FREE = (*PLAN, *MACHINE, *EVALUATION, *YARDSTICK, *ADDED)
FREE_WHEN_LEARNT = (*FREE, "photographs", "crop_px", "loss.vgg19")  # VGG19 may have moved; the others are of training alone
FREE_WHEN_ADDING = {field.name for field in fields(Config)} - {"net", "paintings"}  # a new row is trained in its own way


def build(config: Config) -> TransformNet:
    network = TransformNet(len(config.paintings) + 1, config.net.width, config.net.blocks, config.net.share)
    return network.to(memory_format=torch.channels_last)


def save(run: Run[Config], network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, **progress: Any) -> None:
    state = {"model": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save(run.checkpoint, {**state, **progress, "config": config_dict(run.config)})


def resume(run: Run[Config], network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Bring back the last finished epoch: (epoch to do next, seconds spent). Raises ConfigError where other settings trained it."""
    state = checkpoint.load(run.checkpoint)
    if state is None:
        return 0, 0.0
    if "optimizer" not in state:
        raise DataError(f"{run.checkpoint} was made of the exported model, which cannot be trained on: give `--run` another folder")
    refuse_other_config(state.get("config"), run.config, FREE, run.checkpoint)
    network.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["epoch"], state["duration_s"]


def load_network(run: Run[Config], free: Collection[str] = FREE_WHEN_LEARNT) -> tuple[TransformNet, list[str]]:
    """The averaged weights of the last finished epoch with every added style, as float16 holds them; and the paintings, row by row.

    Raises ConfigError where it was trained with other settings, but for the `free` ones.
    """
    state = load_progress(run)
    refuse_other_config(state.get("config"), run.config, free, run.checkpoint)
    if state["epoch"] < run.config.epochs:
        print(f"this run has done {state['epoch']} of its {run.config.epochs} epochs", flush=True)
    network, paintings = build(run.config), list(run.config.paintings)
    network.load_state_dict(checkpoint.averaged(state))
    for added in load_added(run):
        network = with_new_style(network)
        with torch.no_grad():
            for name, rows in style_rows(network).items():
                rows[len(paintings)] = added["rows"][name]
        paintings.append(added["painting"])
    return rounded(network).eval(), paintings


def load_added(run: Run[Config]) -> list[dict[str, Any]]:
    """What `add-style` left of each style, in the order of the rows."""
    return [checkpoint.load(path) or {} for path in sorted((run.directory / "added").glob("*.pt"))]


def load_progress(run: Run[Config]) -> dict[str, Any]:
    """The checkpoint as it is; where there is none, one is made of the exported model. Raises DataError."""
    state = checkpoint.load(run.checkpoint)
    if state is None:
        state = read_exported(run)
        if state is None:
            raise DataError(f"{run.checkpoint} is missing: run `axon-train {run.recipe} train` with this preset first")
        print(f"{run.checkpoint} is missing: going on with the model in {run.models}", flush=True)
        checkpoint.save(run.checkpoint, state)
    return state


def fingerprint(network: nn.Module) -> str:
    """Tells one set of weights from another."""
    digest = hashlib.sha256()
    for parameter in network.parameters():
        digest.update(parameter.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def added_file(run: Run[Config], painting: str) -> Path:
    return run.directory / "added" / f"{choice_name(painting)}.pt"
