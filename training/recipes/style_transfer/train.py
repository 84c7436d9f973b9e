"""Train TransformNet on all styles at once. The loop is here in full; Lightning Fabric places it on a CPU, a GPU or many processes.

A run that was killed goes on from its last finished epoch with the same command, to the same result: every step's draws
come from (seed, epoch, step). With several processes each one takes its part of the same global batches.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from training.kit.cuda_graph import StepGraph, place_optimizer, set_rate
from training.kit.processes import launch_fabric, refuse_uneven
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.kit.sanity import InsaneFigure
from training.recipes.style_transfer.batches import draw_conditions, draw_images
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import Photographs, load
from training.recipes.style_transfer.losses import PaintingLoss, build_loss
from training.recipes.style_transfer.sheets import centre_squares, write_sheet
from training.recipes.style_transfer.state import build, resume, save
from training.recipes.style_transfer.step import Step

VALIDATION_PHOTOGRAPHS = 4  # of an epoch's figure, each in every style


def main(run: Run[Config]) -> None:
    config, fabric = run.config, launch_fabric(run.config.threads, run.config.precision)
    refuse_uneven(fabric, photographs=config.photographs)
    if fabric.is_global_zero:
        load(run)  # prepares what is missing, once
    fabric.barrier()
    photographs, loss = load(run), build_loss(run, config.paintings).to(fabric.device)
    torch.manual_seed(config.seed)
    network = build(config)
    average = AveragedModel(network).to(fabric.device)
    model, optimizer = fabric.setup(network, torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=(0.9, 0.99)))
    first, duration_s = resume(run, network, average, optimizer)
    log = RunLog(run.directory, run.recipe, resume_epoch=first, quiet=not fabric.is_global_zero)
    place_optimizer(optimizer, fabric.device)
    take_step = StepGraph(Step(model, average, optimizer, loss, config, fabric), fabric.device, record=fabric.world_size == 1)
    placed = photographs.to(fabric.device)
    for epoch in range(first, config.epochs):
        began, totals = time.perf_counter(), defaultdict[str, Tensor](lambda: torch.zeros((), device=fabric.device))
        model.train()
        if epoch == config.small_epochs:
            take_step.forget()
        for step in tqdm(range(config.steps), f"epoch {epoch}", disable=not fabric.is_global_zero, mininterval=10):
            set_learning_rate(optimizer, config, epoch * config.steps + step)
            place = epoch, step, fabric.global_rank, fabric.world_size
            losses = take_step({"images": draw_images(placed, config, *place), "condition": draw_conditions(config, *place)})
            for name, value in losses.items():
                totals[name] += value / config.steps
        means = {name: fabric.all_reduce(total, reduce_op="mean").item() for name, total in totals.items()}
        if not all(map(math.isfinite, means.values())):
            raise InsaneFigure(f"the losses of epoch {epoch} are {means}: its weights are not kept; start anew with a lower learning_rate")
        if fabric.is_global_zero:
            with fabric.autocast():
                measured = measure(average.module, photographs, loss, config)
            seconds = time.perf_counter() - began
            duration_s += seconds
            log.write(epoch, **means, **measured, seconds=seconds)
            save(run, network, average, optimizer, epoch=epoch + 1, duration_s=duration_s, trained_at=time.time())
            write_sheet(run.directory / "sheets" / f"{epoch:03d}.png", average.module, photographs)
        fabric.barrier()


def set_learning_rate(optimizer: torch.optim.Optimizer, config: Config, step: int) -> None:
    """Warm-up, a plateau, a straight line down to nothing (Hägele et al. 2024, arXiv:2405.18392): on the plateau a run may still be cut."""
    steps = config.epochs * config.steps
    warm = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
    down = (steps - step) / (config.cooldown_share * steps) if config.cooldown_share else 1.0
    set_rate(optimizer, config.learning_rate * min(1.0, warm, down))


@torch.no_grad()
def measure(network: nn.Module, photographs: Photographs, loss: PaintingLoss, config: Config) -> dict[str, float]:
    """The yardstick's loss of a few validation photographs in every style, and how far the neutral row is from the photograph."""
    network.eval()
    device = loss.weights.device
    images = centre_squares(photographs, photographs.splits["validation"][:VALIDATION_PHOTOGRAPHS], config.crop_px).to(device)
    choices, totals, errors = torch.eye(len(config.paintings) + 1, device=device), [], []
    for image in images.split(1):
        painted = network(image.expand(len(choices), -1, -1, -1), choices).clamp(0, 1)
        kept, style = loss(painted[:-1], loss.perceptual.content(image), choices[:-1])
        totals.append((kept + style).mean().item())
        errors.append((painted[-1] - image[0]).square().mean().item())
    return {"validation_loss": float(np.mean(totals)), "neutral_error": float(np.mean(errors))}
