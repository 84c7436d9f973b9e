"""`axon-train cyclegan polish`: take the droplets out of trained generators, an hour of a CPU.

Instance normalisation leads a generator to one huge peak of all channels somewhere in a picture, by which it sets the scale of
all the rest: a dark droplet in the answer (Karras et al. 2020, arXiv:1912.04958, section 2). In two passes it can be had without:
the first finds the statistics, the second normalises by them and cuts every peak off. A copy of the generators learns to give
in one pass what they give in two. `evaluate` and `export` then take the copy.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import Domains, draw_batch, load
from training.recipes.cyclegan.model import ConvNorm, Generator, Generators, to_unit
from training.recipes.cyclegan.state import load_polish, load_trained, save_polish

LOG_STEPS = 25

Statistics = tuple[Tensor, Tensor]  # mean and variance of each channel in each picture, (B, C, 1, 1)


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
    total = torch.zeros((), device=fabric.device)
    for step in tqdm(range(first, polish.steps), "polish", initial=first, total=polish.steps, unit="step", mininterval=10):
        optimizer.param_groups[0]["lr"] = polish.learning_rate * (1 + math.cos(math.pi * step / polish.steps)) / 2
        difference = compare(trained, copy, domains, config, step, fabric)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(difference)
        optimizer.step()
        total += difference.detach() / LOG_STEPS
        if (step + 1) % LOG_STEPS == 0 or step + 1 == polish.steps:
            seconds = time.perf_counter() - began
            log.write(step // LOG_STEPS, difference=total.item(), seconds=seconds)
            total.zero_()
            save_polish(run, progress, copy, optimizer, step + 1, duration_s + seconds)


def compare(trained: Generators, copy: Generators, domains: Domains, config: Config, step: int, fabric: Fabric) -> Tensor:
    """Mean absolute difference of the copy from the trained generators without droplets, of a range from -1 to 1.

    Each direction answers pictures of its own domain, of the other one, and what the other direction answers.
    """
    draws = torch.Generator().manual_seed(config.seed * 1_000_000 + step)
    pictures = (draw_batch(domain, config.crop_size, config.polish.pictures, draws) for domain in (domains.a, domains.b))
    real_a, real_b = (to_unit(pixels.to(fabric.device)) for pixels in pictures)
    peak = config.polish.peak
    fake_b, fake_a = without_droplets(trained.generator_ab, real_a, peak), without_droplets(trained.generator_ba, real_b, peak)
    differences = []
    for source, answered, old, new, more in (
        (real_a, fake_b, trained.generator_ab, copy.generator_ab, torch.cat([real_b, fake_a])),
        (real_b, fake_a, trained.generator_ba, copy.generator_ba, torch.cat([real_a, fake_b])),
    ):
        wanted = torch.cat([answered, without_droplets(old, more, peak)])
        differences.append((new(torch.cat([source, more])) - wanted).abs().mean())
    return torch.stack(differences).mean()


@torch.no_grad()
def without_droplets(generator: Generator, pictures: Tensor, peak: float) -> Tensor:
    """The answer to pictures (B, 3, H, W) in two passes; behind the first three layers nothing is over `peak` deviations."""
    found: dict[ConvNorm, Statistics] = {}

    def find(layer: ConvNorm, inputs: tuple[Tensor], _: Tensor) -> None:
        x = layer.conv(inputs[0])
        found[layer] = x.mean((2, 3), keepdim=True), x.var((2, 3), keepdim=True, unbiased=False)

    def cut(layer: ConvNorm, inputs: tuple[Tensor], _: Tensor) -> Tensor:
        mean, variance = found[layer]
        z = (layer.conv(inputs[0]) - mean) / (variance + layer.norm.eps).sqrt()
        return z.clamp(-peak, peak) * layer.norm.weight[:, None, None] + layer.norm.bias[:, None, None]

    with hooked(generator, find):
        generator(pictures)
    with hooked(generator, cut):
        answered: Tensor = generator(pictures)
    return answered


@contextmanager
def hooked(generator: Generator, hook: Callable[..., Tensor | None]) -> Iterator[None]:
    """With a hook behind every normalised layer of the residual blocks and of the way up."""
    layers = [module for part in (generator.blocks, generator.up) for module in part.modules() if isinstance(module, ConvNorm)]
    handles = [layer.register_forward_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
