"""Train TransformNet on all styles at once. The loop is here in full; Lightning Fabric places it on a CPU, a GPU or many processes.

A run that was killed goes on from its last finished epoch with the same command, to the same result: every step's draws
come from (seed, epoch, step). With several processes each one takes its part of the same global batches.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.style_transfer.batches import draw_conditions, draw_images
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import Photographs, load
from training.recipes.style_transfer.losses import PaintingLoss, build_loss
from training.recipes.style_transfer.sheets import centre_squares, write_sheet
from training.recipes.style_transfer.state import build, resume, save

VALIDATION_PHOTOGRAPHS = 4  # of an epoch's figure, each in every style


def main(run: Run[Config]) -> None:
    config, fabric = run.config, launch_fabric(run.config.threads, run.config.precision)
    if fabric.is_global_zero:
        load(run)  # prepares what is missing, once
    fabric.barrier()
    photographs, loss = load(run), build_loss(run, config.paintings).to(fabric.device)
    torch.manual_seed(config.seed)
    network = build(config)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay)).to(fabric.device)
    model, optimizer = fabric.setup(network, torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=(0.9, 0.99)))
    first, duration_s = resume(run, network, average, optimizer)
    log = RunLog(run.directory, run.recipe, resume_epoch=first, quiet=not fabric.is_global_zero)
    for epoch in range(first, config.epochs):
        began, losses = time.perf_counter(), []
        model.train()
        for step in tqdm(range(config.steps), f"epoch {epoch}", disable=not fabric.is_global_zero, mininterval=10):
            set_learning_rate(optimizer, config, epoch * config.steps + step)
            place = epoch, step, fabric.global_rank, fabric.world_size
            images = draw_images(photographs, config, *place).to(fabric.device)  # (P, 3, H, W)
            condition = draw_conditions(config, *place).to(fabric.device)  # (P, K + 1, S + 1), the last of each photograph neutral
            with fabric.autocast():
                content = loss.perceptual.content(images).repeat_interleave(config.styles, 0)  # (P K, C, h, w)
            photographed = images.repeat_interleave(config.styles + 1, 0)  # (P (K + 1), 3, H, W)
            painted = model(photographed, condition.flatten(0, 1))
            styled = painted.unflatten(0, condition.shape[:2])[:, :-1].flatten(0, 1)  # (P K, 3, H, W)
            with fabric.autocast():
                kept, style = loss(styled, content, condition[:, :-1].flatten(0, 1))  # (P K,) both
            anchors = loss.anchors(painted, photographed, condition.flatten(0, 1))  # (P (K + 1),)
            total = kept.mean() + style.mean() + anchors.mean()
            fabric.backward(total)
            fabric.clip_gradients(model, optimizer, max_norm=config.max_gradient_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update_parameters(network)
            losses.append(fabric.all_reduce(torch.stack([kept.mean(), style.mean(), anchors.mean()]).detach(), reduce_op="mean"))
        if fabric.is_global_zero:
            with fabric.autocast():
                measured = measure(average.module, photographs, loss, config)
            seconds = time.perf_counter() - began
            duration_s += seconds
            content_loss, style_loss, anchor_loss = torch.stack(losses).mean(0).tolist()
            log.write(epoch, content=content_loss, style=style_loss, anchors=anchor_loss, **measured, seconds=seconds)
            save(run, network, average, optimizer, epoch=epoch + 1, duration_s=duration_s, trained_at=time.time())
            write_sheet(run.directory / "sheets" / f"{epoch:03d}.png", average.module, photographs)
        fabric.barrier()


def set_learning_rate(optimizer: torch.optim.Optimizer, config: Config, step: int) -> None:
    """Warm-up, a plateau, a straight line down to nothing (Hägele et al. 2024, arXiv:2405.18392): on the plateau a run may still be cut."""
    steps = config.epochs * config.steps
    warm = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
    down = (steps - step) / (config.cooldown_share * steps) if config.cooldown_share else 1.0
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * min(1.0, warm, down)


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
