"""Train both directions at once. The loop is here in full; Lightning Fabric places it on a CPU or a GPU.

A step goes as in the course: both discriminators learn from real pictures and from fakes, then both generators learn
from what the discriminators now say. A run that was killed goes on from its last finished epoch with the same command,
to the same result: every epoch's draws come from (seed, epoch), and the pools of fakes are part of the checkpoint.
"""

from __future__ import annotations

import time
from collections import defaultdict

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.kit.config import ConfigError
from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import draw_batch, load
from training.recipes.cyclegan.losses import cycle_loss, fake_loss, identity_loss, real_loss
from training.recipes.cyclegan.model import Discriminators, Generators, build, to_unit
from training.recipes.cyclegan.pool import ImagePool
from training.recipes.cyclegan.samples import save_samples
from training.recipes.cyclegan.state import State, resume, save
from training.recipes.cyclegan.views import Views

Losses = dict[str, Tensor]


def main(run: Run[Config]) -> None:
    config, fabric = run.config, launch_fabric(run.config.threads, run.config.precision)
    if fabric.world_size > 1:
        raise ConfigError("cyclegan trains in one process: its batches are one picture a domain")
    domains, views = load(run), Views(run).to(fabric.device)
    state = start(config, fabric)
    generators, discriminators = state.generators, state.discriminators
    resume(run, state, fabric.device)
    log = RunLog(run.directory, run.recipe, resume_epoch=state.epoch)
    for epoch in range(state.epoch, config.epochs):
        began, totals = time.perf_counter(), defaultdict[str, Tensor](lambda: torch.zeros((), device=fabric.device))
        draws = torch.Generator().manual_seed(config.seed * 1_000_000 + epoch)
        size, cycle = crop_size(config, epoch), cycle_weight(config, epoch)
        for step in tqdm(range(config.epoch_steps), f"epoch {epoch}", unit="step", mininterval=10):
            set_learning_rate(state, config, epoch * config.epoch_steps + step)
            real_a, real_b = (
                to_unit(draw_batch(domain, size, config.batch_size, draws).to(fabric.device)) for domain in (domains.a, domains.b)
            )
            with fabric.autocast():
                fake_b, fake_a = generators.generator_ab(real_a), generators.generator_ba(real_b)
            shown_a, shown_b = state.pool_a.swap(fake_a.detach(), draws), state.pool_b.swap(fake_b.detach(), draws)

            discriminators.requires_grad_(True)
            with fabric.autocast():
                judged = discriminator_losses(discriminators, views, real_a, real_b, shown_a, shown_b)
            state.discriminator_optimizer.zero_grad(set_to_none=True)
            fabric.backward(sum(judged.values()))
            state.discriminator_optimizer.step()

            discriminators.requires_grad_(False)  # they judge here, and do not learn
            with fabric.autocast():
                losses = generator_losses(generators, discriminators, views, real_a, real_b, fake_a, fake_b)
                if step % config.identity_every == 0:
                    losses |= identity_losses(generators, real_a, real_b)
            state.generator_optimizer.zero_grad(set_to_none=True)
            fabric.backward(weigh(losses, config, cycle))
            state.generator_optimizer.step()
            state.average.update_parameters(generators)
            for name, loss in (judged | losses).items():
                totals[name] += loss.detach() * (config.identity_every if name.startswith("identity") else 1) / config.epoch_steps
        means = {name: total.item() for name, total in totals.items()}  # waits for a GPU to end its work
        state.finish_epoch(time.perf_counter() - began)
        log.write(epoch, **means, seconds=time.perf_counter() - began)
        save_samples(run, state.average.module, domains, epoch)
        save(run, state)


def start(config: Config, fabric: Fabric) -> State:
    """Everything a run is made of, before its first step."""
    torch.manual_seed(config.seed)
    generators, discriminators = (networks.to(fabric.device) for networks in build(config))
    adam = {"lr": config.learning_rate, "betas": (0.5, 0.999), "fused": True}
    return State(
        generators=generators,
        discriminators=discriminators,
        average=AveragedModel(generators, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay)),
        generator_optimizer=torch.optim.Adam(generators.parameters(), **adam),
        discriminator_optimizer=torch.optim.Adam(discriminators.parameters(), **adam),
        pool_a=ImagePool(config.pool_size),
        pool_b=ImagePool(config.pool_size),
    )


def discriminator_losses(
    discriminators: Discriminators, views: Views, real_a: Tensor, real_b: Tensor, shown_a: Tensor, shown_b: Tensor
) -> Losses:
    """Half of real and half of fake, as in the paper: discriminators learn half as fast as generators."""
    losses = {}
    for name, real, shown in (("discriminator_a", real_a, shown_a), ("discriminator_b", real_b, shown_b)):
        scores = discriminators.get_submodule(name)(views(torch.cat([real, shown])))
        of_real, of_shown = scores.chunk(2)
        losses[name] = (real_loss(of_real) + fake_loss(of_shown)) / 2
    return losses


def generator_losses(
    generators: Generators, discriminators: Discriminators, views: Views, real_a: Tensor, real_b: Tensor, fake_a: Tensor, fake_b: Tensor
) -> Losses:
    """Fakes should pass for real, and come back. They are those that the discriminators have just seen, not computed twice."""
    return {
        "adversarial_ab": real_loss(discriminators.discriminator_b(views(fake_b))),
        "adversarial_ba": real_loss(discriminators.discriminator_a(views(fake_a))),
        "cycle_a": cycle_loss(real_a, generators.generator_ba(fake_b)),
        "cycle_b": cycle_loss(real_b, generators.generator_ab(fake_a)),
    }


def identity_losses(generators: Generators, real_a: Tensor, real_b: Tensor) -> Losses:
    return {
        "identity_a": identity_loss(real_a, generators.generator_ba(real_a)),
        "identity_b": identity_loss(real_b, generators.generator_ab(real_b)),
    }


def weigh(losses: Losses, config: Config, cycle: float) -> Tensor:
    """One number for the generators. An identity loss that is computed every second step counts twice."""
    weights = {"adversarial": 1.0, "cycle": cycle, "identity": cycle * config.lambda_identity * config.identity_every}
    return torch.stack([weights[name.partition("_")[0]] * loss for name, loss in losses.items()]).sum()


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
    for optimizer in (state.generator_optimizer, state.discriminator_optimizer):
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * factor
