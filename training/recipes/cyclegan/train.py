"""Train both directions at once: the loop over epochs; a step is in `step.py`. Lightning Fabric places it on a CPU or a GPU.

A run that was killed goes on from its last finished epoch with the same command, to the same result: every epoch's
draws come from (seed, epoch), and the pools of fakes are part of the checkpoint.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict

import torch
from torch import Tensor
from tqdm import tqdm

from training.kit.config import ConfigError
from training.kit.cuda_graph import StepGraph, place_optimizer, set_rate
from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.kit.sanity import InsaneFigure
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import load
from training.recipes.cyclegan.samples import save_samples
from training.recipes.cyclegan.state import State, resume, save
from training.recipes.cyclegan.step import Step, draw_step, start
from training.recipes.cyclegan.views import Views


def main(run: Run[Config]) -> None:
    config, fabric = run.config, launch_fabric(run.config.threads, run.config.precision)
    if fabric.world_size > 1:
        raise ConfigError("cyclegan trains in one process: its batches are a few pictures a domain")
    views, domains = Views(run).to(fabric.device), load(run)  # a file that is missing is found before pictures are decoded
    state = start(config, fabric)
    resume(run, state, fabric.device)
    for optimizer in state.optimizers:
        place_optimizer(optimizer, fabric.device)
    log = RunLog(run.directory, run.recipe, resume_epoch=state.epoch)
    take_step = StepGraph(Step(state, views, config, fabric), fabric.device)
    for epoch in range(state.epoch, config.epochs):
        began, totals = time.perf_counter(), defaultdict[str, Tensor](lambda: torch.zeros((), device=fabric.device))
        draws = torch.Generator().manual_seed(config.seed * 1_000_000 + epoch)
        size, cycle = crop_size(config, epoch), torch.tensor(cycle_weight(config, epoch))
        if size != crop_size(config, epoch - 1):
            take_step.forget()
        for pool in (state.pool_a, state.pool_b):
            pool.fit(size, fabric.device)
        for step in tqdm(range(config.epoch_steps), f"epoch {epoch}", unit="step", mininterval=10):
            set_learning_rate(state, config, epoch * config.epoch_steps + step)
            inputs = draw_step(domains, state, config, size, draws) | {"cycle": cycle}
            losses = take_step(inputs, identity=step % config.identity_every == 0)
            for name, loss in losses.items():
                totals[name] += loss * (config.identity_every if name.startswith("identity") else 1) / config.epoch_steps
        means = {name: total.item() for name, total in totals.items()}  # waits for a GPU to end its work
        if not all(map(math.isfinite, means.values())):
            raise InsaneFigure(f"the losses of epoch {epoch} are {means}: its weights are not kept; start anew with a lower learning_rate")
        state.finish_epoch(time.perf_counter() - began)
        log.write(epoch, **means, seconds=time.perf_counter() - began)
        save_samples(run, state.average.module, domains, epoch)
        save(run, state)


def cycle_weight(config: Config, epoch: int) -> float:
    """From `lambda_cycle` to `lambda_cycle_last` in a straight line over the run.

    A strict cycle leads the first epochs; later it forbids what cannot be undone, such as a zebra's ground under a
    horse's hooves, and teaches to hide the way back in noise (Wang & Lin 2018, "CycleGAN with Better Cycles").
    """
    last = config.lambda_cycle if config.lambda_cycle_last is None else config.lambda_cycle_last
    return config.lambda_cycle + (last - config.lambda_cycle) * epoch / max(config.epochs - 1, 1)


def crop_size(config: Config, epoch: int) -> int:
    return config.small_crop_size if epoch < config.small_epochs else config.crop_size


def set_learning_rate(state: State, config: Config, step: int) -> None:
    """A plateau, then a straight line down to nothing over the last `decay_epochs`."""
    left = config.epochs * config.epoch_steps - step
    factor = min(1.0, left / (config.decay_epochs * config.epoch_steps)) if config.decay_epochs else 1.0
    for optimizer in state.optimizers:
        set_rate(optimizer, config.learning_rate * factor)
