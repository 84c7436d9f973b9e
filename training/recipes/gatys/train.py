"""Optimise the image. The loop is here in full, on a CPU or a GPU.

An image is worked on by one process. A run that was killed goes on from its last intermediate picture with the same
command, to the same result; other pictures or settings in the same folder start anew.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from app.contract.files import sha256
from training.kit import checkpoint
from training.kit.config import ConfigError, config_dict
from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.nets.image_descent import ImageDescent
from training.recipes.gatys.config import Config
from training.recipes.gatys.data import load, write
from training.recipes.gatys.model import GatysLoss, load_features


def main(run: Run[Config]) -> None:
    config, fabric = run.config, launch_fabric(run.config.threads, run.config.precision)
    pictures, wanted = load(run).to(fabric.device), settings(config)
    features = load_features(run).to(fabric.device, memory_format=torch.channels_last)
    with fabric.autocast():
        losses = GatysLoss(features, pictures, config)
    parts = torch.zeros(3)  # of the last evaluation: content, style, smoothness

    def loss(image: Tensor) -> Tensor:
        with fabric.autocast():
            found = losses(image)
        parts.copy_(found.detach())
        return found.sum()

    descent = ImageDescent(pictures.content, loss, config.optimizer, config.learning_rate)
    first = resume(run, descent, wanted)
    log = RunLog(run.directory, run.recipe, resume_epoch=first)
    began = time.perf_counter()
    progress = tqdm(range(first, config.steps), "steps", initial=first, total=config.steps, mininterval=1)
    for step in progress:
        value = descent.step()
        progress.set_postfix(loss=f"{value:.4f}", refresh=False)
        done = step + 1
        if done % config.picture_every == 0 or done == config.steps:
            content, style, variation = parts.tolist()
            log.write(step, loss=value, content=content, style=style, variation=variation, seconds=time.perf_counter() - began)
            write(descent.picture, run.directory / "pictures" / f"{done:05d}.png")
            checkpoint.save(run.checkpoint, {**descent.state_dict(), "step": done, "settings": wanted})
            began = time.perf_counter()
    write(descent.picture, run.directory / "result.png")
    print(f"wrote {run.directory / 'result.png'}")


def resume(run: Run[Config], descent: ImageDescent, wanted: dict[str, Any]) -> int:
    """Bring back the last intermediate picture: the step to do next. Raises ConfigError where it has had more steps than are asked for."""
    state = checkpoint.load(run.checkpoint)
    if state is None or state["settings"] != wanted:
        return 0
    if state["step"] > run.config.steps:
        raise ConfigError(
            f"{run.directory} holds this picture after {state['step']} steps, not {run.config.steps}: see its pictures/ for earlier ones, "
            "or give --run another folder"
        )
    descent.load_state_dict(state)
    return int(state["step"])


def settings(config: Config) -> dict[str, Any]:
    """What makes two runs the same but for their length: a picture counts by what is in its file, not by its name."""
    free = ("content", "style", "steps", "picture_every", "threads")
    pictures = {f"{name}_sha256": sha256(Path(path)) for name in ("content", "style") if (path := getattr(config, name))}
    return {key: value for key, value in config_dict(config).items() if key not in free} | pictures
