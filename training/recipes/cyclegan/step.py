"""One step of both halves, as in the course: discriminators learn from real pictures and from the pool, then generators from them.

Shapes: B pictures of each domain, 3 colours, S x S pixels. Nothing here waits for a result, so that a GPU can record a step.
"""

from __future__ import annotations

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim import Adam
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.kit.cuda_graph import follow
from training.recipes.cyclegan.augmentation import augment, draw_augmentation
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import Domains, draw_batch
from training.recipes.cyclegan.losses import cycle_loss, fake_loss, identity_loss, real_loss
from training.recipes.cyclegan.model import build, to_unit
from training.recipes.cyclegan.pool import ImagePool
from training.recipes.cyclegan.state import State
from training.recipes.cyclegan.views import Views

Losses = dict[str, Tensor]
SHOWN = 6  # pictures that are altered for a discriminator, for each of B: two real, two from the pools, two new fakes


def start(config: Config, fabric: Fabric) -> State:
    """Everything a run is made of, before its first step."""
    torch.manual_seed(config.seed)
    generators, discriminators = (networks.to(fabric.device) for networks in build(config))
    adam: dict[str, Any] = {"lr": config.learning_rate, "betas": (0.5, 0.999), "fused": True}
    return State(
        generators=generators,
        discriminators=discriminators,
        average=AveragedModel(generators, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay)),
        generator_optimizer=Adam(generators.parameters(), **adam),
        discriminator_optimizer=Adam(discriminators.parameters(), **adam),
        pool_a=ImagePool(config.pool_size),
        pool_b=ImagePool(config.pool_size),
    )


def draw_step(domains: Domains, state: State, config: Config, size: int, generator: torch.Generator) -> dict[str, Tensor]:
    """All that is random in a step, and its pictures: real_a and real_b (B, 3, S, S), uint8; what the pools exchange, two of (B,)."""
    count = config.batch_size
    shrink = config.small_shrink if size == config.small_crop_size else 1
    inputs = {f"real_{name}": draw_batch(domain, size, count, generator, shrink) for name, domain in (("a", domains.a), ("b", domains.b))}
    for name, pool in (("a", state.pool_a), ("b", state.pool_b)):
        inputs[f"places_{name}"], inputs[f"old_{name}"] = pool.draw(count, generator)
    if config.augment:
        inputs["alterations"] = draw_augmentation(SHOWN * count, generator)
    return inputs


class Step:
    """Called with what `draw_step` drew and `cycle`, the cycle's weight (); `identity` says if that loss is computed. Gives all losses."""

    def __init__(self, state: State, views: Views, config: Config, fabric: Fabric) -> None:
        self.state, self.views, self.config, self.fabric = state, views, config, fabric
        self.forth, self.back = state.generators.generator_ab, state.generators.generator_ba

    def __call__(self, inputs: dict[str, Tensor], identity: bool) -> Losses:
        state, discriminators = self.state, self.state.discriminators
        real_a, real_b = to_unit(inputs["real_a"]), to_unit(inputs["real_b"])
        altered = iter(inputs["alterations"].chunk(SHOWN) if self.config.augment else [])
        with self.fabric.autocast():
            fake_b, fake_a = self.forth(real_a), self.back(real_b)
        shown_a = state.pool_a.swap(fake_a.detach(), inputs["places_a"], inputs["old_a"])
        shown_b = state.pool_b.swap(fake_b.detach(), inputs["places_b"], inputs["old_b"])

        discriminators.requires_grad_(True)
        with self.fabric.autocast():
            judged = {
                "discriminator_a": self.discriminator_loss(discriminators.discriminator_a, real_a, shown_a, altered),
                "discriminator_b": self.discriminator_loss(discriminators.discriminator_b, real_b, shown_b, altered),
            }
        self.learn(state.discriminator_optimizer, torch.stack(list(judged.values())).sum())

        discriminators.requires_grad_(False)  # they judge here, and do not learn
        with self.fabric.autocast():
            losses = {
                "adversarial_ab": real_loss(discriminators.discriminator_b(self.look(altered, fake_b))),
                "adversarial_ba": real_loss(discriminators.discriminator_a(self.look(altered, fake_a))),
                "cycle_a": cycle_loss(real_a, self.back(fake_b)),
                "cycle_b": cycle_loss(real_b, self.forth(fake_a)),
            }
            if identity:
                losses["identity_a"] = identity_loss(real_a, self.back(real_a))
                losses["identity_b"] = identity_loss(real_b, self.forth(real_b))
        self.learn(state.generator_optimizer, weigh(losses, self.config, inputs["cycle"]))
        follow(state.average, state.generators, self.config.ema_decay)
        return {name: loss.detach() for name, loss in (judged | losses).items()}

    def discriminator_loss(self, discriminator: torch.nn.Module, real: Tensor, shown: Tensor, altered: Any) -> Tensor:
        """Half of real and half of fake, as in the paper: discriminators learn half as fast as generators."""
        of_real, of_shown = discriminator(self.look(altered, real, shown)).chunk(2)
        return (real_loss(of_real) + fake_loss(of_shown)) / 2

    def look(self, altered: Any, *pictures: Tensor) -> list[Tensor]:
        """What discriminators see of pictures (B, 3, S, S), one after another; each takes the next of the drawn alterations."""
        if self.config.augment:
            pictures = tuple(augment(each, next(altered)) for each in pictures)
        views: list[Tensor] = self.views(torch.cat(pictures))
        return views

    def learn(self, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        optimizer.step()


def weigh(losses: Losses, config: Config, cycle: Tensor) -> Tensor:
    """One number for the generators. An identity loss that is computed every second step counts twice."""
    weights = {"adversarial": 1.0, "cycle": cycle, "identity": cycle * config.lambda_identity * config.identity_every}
    return torch.stack([weights[name.partition("_")[0]] * loss for name, loss in losses.items()]).sum()
