"""`axon-train cyclegan polish`: take the droplets out of trained generators, an hour of one CPU core.

Instance normalisation leads a generator to one huge peak of all channels somewhere in a picture, by which it sets the scale of
all the rest: a dark droplet in the answer (Karras et al. 2020, arXiv:1912.04958, section 2). A copy of the generators learns to
answer as they do where they have no peak, and to have no peak itself; what a droplet covered is left to the copy.
`evaluate` and `export` then take the copy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.cyclegan.config import Config, PolishConfig
from training.recipes.cyclegan.data import Domains, draw_batch, load
from training.recipes.cyclegan.model import ConvNorm, Generator, Generators, to_unit
from training.recipes.cyclegan.state import load_polish, load_trained, save_polish

LOG_STEPS = 25


def main(run: Run[Config]) -> None:
    config, fabric = run.config, launch_fabric(run.config.threads, "32-true")
    trained, progress = load_trained(run)
    domains, polish = load(run), config.polish
    trained.to(fabric.device).requires_grad_(False)
    copy = Generators(config.net).to(fabric.device)
    copy.load_state_dict(trained.state_dict())
    optimizer = torch.optim.Adam(copy.parameters(), lr=polish.learning_rate, betas=(0.5, 0.999), fused=True)
    first, duration_s = load_polish(run, progress, copy, optimizer)
    log, began = RunLog(run.directory / "polish", run.recipe, resume_epoch=first // LOG_STEPS), time.perf_counter()
    totals = torch.zeros(2, device=fabric.device)
    for step in tqdm(range(first, polish.steps), "polish", initial=first, total=polish.steps, unit="step", mininterval=10):
        optimizer.param_groups[0]["lr"] = polish.learning_rate * (1 + math.cos(math.pi * step / polish.steps)) / 2
        losses = take_step(trained, copy, domains, config, step, fabric)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(losses[0] + polish.peak_weight * losses[1])
        optimizer.step()
        totals += losses.detach() / LOG_STEPS
        if (step + 1) % LOG_STEPS == 0 or step + 1 == polish.steps:
            seconds = time.perf_counter() - began
            log.write(step // LOG_STEPS, difference=totals[0].item(), peaks=totals[1].item(), seconds=seconds)
            totals.zero_()
            save_polish(run, progress, copy, optimizer, step + 1, duration_s + seconds)


def take_step(trained: Generators, copy: Generators, domains: Domains, config: Config, step: int, fabric: Fabric) -> Tensor:
    """(2,): how far the copy is from the trained generators beside their droplets, and how high its peaks are, both directions."""
    draws = torch.Generator().manual_seed(config.seed * 1_000_000 + step)
    pictures = (draw_batch(domain, config.crop_size, config.polish.pictures, draws) for domain in (domains.a, domains.b))
    real_a, real_b = (to_unit(pixels.to(fabric.device)) for pixels in pictures)
    fake_b, off_b = answer(trained.generator_ab, real_a, config.polish)
    fake_a, off_a = answer(trained.generator_ba, real_b, config.polish)
    forth = compare(trained.generator_ab, copy.generator_ab, config.polish, (real_a, fake_b, off_b), torch.cat([real_b, fake_a]))
    back = compare(trained.generator_ba, copy.generator_ba, config.polish, (real_b, fake_a, off_a), torch.cat([real_a, fake_b]))
    return (forth + back) / 2


def compare(trained: Generator, copy: Generator, polish: PolishConfig, known: tuple[Tensor, Tensor, Tensor], more: Tensor) -> Tensor:
    """(2,) for one direction: on pictures whose answer and droplets are `known`, and on `more` (B, 3, H, W)."""
    pictures, answered, droplets = (
        torch.cat([one, other]) for one, other in zip(known, (more, *answer(trained, more, polish)), strict=True)
    )
    with watched(copy) as norms:
        difference = (copy(pictures) - answered).abs() * ~droplets
    peaks = torch.stack([F.relu(norm.abs().amax((2, 3)) - polish.peak).mean() for norm in norms])
    return torch.stack([difference.mean(), peaks.mean()])


@torch.no_grad()
def answer(trained: Generator, pictures: Tensor, polish: PolishConfig) -> tuple[Tensor, Tensor]:
    """For pictures (B, 3, H, W) the answers, and where droplets are in them (B, 1, H, W), with a margin."""
    with watched(trained) as norms:
        answered = trained(pictures)
    peaks = (norms[-1].abs().amax(1, keepdim=True) > polish.peak).float()  # of the last layer, which has full size
    return answered, F.max_pool2d(peaks, 2 * polish.margin + 1, 1, polish.margin) > 0


@contextmanager
def watched(generator: Generator) -> Iterator[list[Tensor]]:
    """What the normalised layers behind the first three give, (B, C, h, w) each, before their own scale and shift."""
    seen: list[Tensor] = []

    def watch(module: nn.Module, _: object, output: Tensor) -> None:
        norm = module.norm
        seen.append((output - norm.bias[:, None, None]) / norm.weight[:, None, None])

    layers = [module for part in (generator.blocks, generator.up) for module in part.modules() if isinstance(module, ConvNorm)]
    hooks = [layer.register_forward_hook(watch) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
