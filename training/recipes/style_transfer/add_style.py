"""`axon-train style-transfer add-style painting.jpg`: learn one more painting, minutes on a CPU.

Only the new row of the normalisation's scales and shifts is trained (Dumoulin et al. 2017, section 3.2): the convolutions and
the other styles stay bit for bit as they were. Run it as often as there are paintings, then evaluate and export again.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor
from tqdm import tqdm

from training.kit import checkpoint
from training.kit.config import ConfigError
from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.style_transfer.batches import draw_images
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import choice_name, load, load_painting
from training.recipes.style_transfer.losses import build_loss
from training.recipes.style_transfer.model import style_rows, with_new_style
from training.recipes.style_transfer.sheets import write_sheet
from training.recipes.style_transfer.state import FREE_WHEN_ADDING, added_file, load_network

LOG_STEPS = 25


def main(run: Run[Config]) -> None:
    config, fabric = run.config, launch_fabric(run.config.threads, run.config.precision)
    if not config.painting:
        raise ConfigError("name the new painting: axon-train style-transfer add-style painting.jpg")
    load_painting(run, config.painting)  # a path that is wrong, or a file that is no picture, is found before anything else
    network, paintings = load_network(run, FREE_WHEN_ADDING)
    if choice_name(config.painting) in [choice_name(known) for known in paintings]:
        raise ConfigError(
            f"there is a style {choice_name(config.painting)} already: rename the file (an added style goes when its file in added/ does)"
        )
    network, new = with_new_style(network), len(paintings)  # `new` is the row's number
    photographs, loss = load(run), build_loss(run, [config.painting]).to(fabric.device)
    rows = learn_only_row(network.requires_grad_(False), new)
    model, optimizer = fabric.setup(network, torch.optim.Adam(rows, lr=config.added_learning_rate))
    log, began = RunLog(run.directory / "added" / choice_name(config.painting), run.recipe), time.perf_counter()
    condition = torch.eye(new + 2, device=fabric.device)[new].expand(config.photographs, -1)  # (P, S + 2)
    alone = torch.tensor([[1.0, 0.0]], device=fabric.device).expand(config.photographs, -1)  # the same for a loss of one painting
    for step in tqdm(range(config.added_steps), f"add {choice_name(config.painting)}", mininterval=5):
        images = draw_images(photographs, config, config.epochs, step).to(fabric.device)  # (P, 3, H, W)
        with fabric.autocast():
            content = loss.perceptual.content(images)
        painted = model(images, condition)
        with fabric.autocast():
            kept, style = loss(painted, content, alone)  # (P,) both
        total = (kept + style + loss.anchors(painted, images, alone)).mean()
        optimizer.param_groups[0]["lr"] = config.added_learning_rate * (1 + math.cos(math.pi * step / config.added_steps)) / 2
        fabric.backward(total)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % LOG_STEPS == 0 or step + 1 == config.added_steps:
            log.write(step, content=kept.mean().item(), style=style.mean().item())
    learnt = {name: rows.detach()[new].cpu() for name, rows in style_rows(network).items()}
    duration_s = time.perf_counter() - began
    checkpoint.save(added_file(run, config.painting), {"painting": config.painting, "rows": learnt, "duration_s": duration_s})
    write_sheet(run.directory / "added" / f"{choice_name(config.painting)}.png", network, photographs)
    print(f"learnt {choice_name(config.painting)} in {duration_s:.0f} s: evaluate and export again, and the model has it")


def learn_only_row(network: torch.nn.Module, row: int) -> list[torch.nn.Parameter]:
    """The parameters of the styles, whose gradient is nothing but for one row."""
    parameters = list(style_rows(network).values())  # type: ignore[arg-type]
    for parameter in parameters:
        parameter.requires_grad_(True)
        parameter.register_hook(lambda gradient: only_row(gradient, row))
    return parameters


def only_row(gradient: Tensor, row: int) -> Tensor:
    kept = torch.zeros_like(gradient)
    kept[row] = gradient[row]
    return kept
