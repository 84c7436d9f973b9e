"""Everything that a run carries from step to step, and its way to disk and back."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from training.kit import checkpoint
from training.kit.config import ConfigError, config_dict, refuse_other_config
from training.kit.data import DataError
from training.kit.run import Run
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import draw_batch, load
from training.recipes.cyclegan.droplets import without_droplets
from training.recipes.cyclegan.model import Discriminators, Generators, to_unit
from training.recipes.cyclegan.pool import ImagePool
from training.recipes.cyclegan.widen import widen

PLATEAU = "plateau.pt"
MEASURED = 32  # pictures of each domain

# Settings that may differ from those of the checkpoint that a run goes on from, or is evaluated by.
PLAN = ("epochs", "decay_epochs", "small_epochs")  # made anew for a longer or a shorter run
MACHINE = ("threads", "precision")
NAMES = ("name", "name_a", "name_b", "start_from")  # where it started is in the checkpoint
SHOWN = ("peak", "peaks", "sample_pictures")  # nothing is learnt from them
FREE = (*PLAN, *MACHINE, *NAMES, *SHOWN)
FREE_WHEN_LEARNT = (*FREE, "stored_size", "crop_size", "vgg19")  # pictures of another size may be translated; VGG19 may have moved


@dataclass
class State:
    generators: Generators
    discriminators: Discriminators
    average: AveragedModel  # of the generators' weights
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer
    pool_a: ImagePool
    pool_b: ImagePool
    epoch: int = 0  # to do next
    duration_s: float = 0.0  # spent on all epochs so far
    started_from: dict[str, Any] | None = None  # the run that `start_from` names: its epochs, its config and what it started from

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
        return self.generator_optimizer, self.discriminator_optimizer

    def finish_epoch(self, seconds: float) -> None:
        self.epoch += 1
        self.duration_s += seconds


def save(run: Run[Config], state: State) -> None:
    """Write checkpoint.pt, and the same as plateau.pt at the epoch after which the rate starts to fall."""
    parts = {name: getattr(state, name).state_dict() for name in _PARTS}
    pools = {"pool_a": state.pool_a.state(), "pool_b": state.pool_b.state()}
    progress = {"epoch": state.epoch, "duration_s": state.duration_s, "trained_at": time.time(), "started_from": state.started_from}
    plan = {"epochs": run.config.epochs, "decay_epochs": run.config.decay_epochs, "config": config_dict(run.config)}
    whole = {**parts, **pools, **progress, **plan}
    if _ends_plateau(run.config, state.epoch):
        checkpoint.save(run.directory / PLATEAU, whole)
    checkpoint.save(run.checkpoint, whole)


_PARTS = ("generators", "discriminators", "average", "generator_optimizer", "discriminator_optimizer")


def resume(run: Run[Config], state: State, device: torch.device) -> None:
    """Bring back the last finished epoch into `state`, if there is one.

    A run that is given more epochs than it was planned for goes on from the end of its plateau, if it has left that: what
    came after was learnt at a rate that was on its way down. Raises ConfigError where it was trained with other settings.
    """
    found = checkpoint.load(run.checkpoint)
    if found is not None and found["epochs"] < run.config.epochs and _has_left_plateau(found):
        found = checkpoint.load(run.directory / PLATEAU) or found
    if found is None:
        if run.config.start_from:
            _go_on_from(run, state)
        return
    refuse_other_config(found.get("config"), run.config, FREE, run.checkpoint)
    for name in _PARTS:
        getattr(state, name).load_state_dict(found[name])
    for name in ("pool_a", "pool_b"):
        getattr(state, name).restore(found[name], device)
    state.epoch, state.duration_s, state.started_from = found["epoch"], found["duration_s"], found.get("started_from")
    if _ends_plateau(run.config, state.epoch):  # of a run that is planned anew as it stops
        checkpoint.save(run.directory / PLATEAU, found)


def _go_on_from(run: Run[Config], state: State) -> None:
    """Take the averaged generators, widened where this run has more channels, and the discriminators of a finished run.

    Epochs are counted anew, optimisers and pools are empty; the time that the other run took is part of this one's.
    """
    path = _starting_checkpoint(run)
    found = checkpoint.load(path)
    if found is None:
        raise DataError(f"{path} is missing: start_from names the folder of a finished run, from this run's folder")
    if found["epoch"] < found["epochs"]:
        raise DataError(f"{path} has done {found['epoch']} of its {found['epochs']} epochs: start_from names a finished run")
    _refuse_other_judges(run, found, path)
    try:
        generators = widen(checkpoint.averaged(found), state.generators.state_dict(), run.config.seed)
        state.generators.load_state_dict(generators)
        state.average.module.load_state_dict(generators)
        state.discriminators.load_state_dict(found["discriminators"])
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{path} holds other networks than `net` describes: {error}") from error
    state.duration_s, state.started_from = found["duration_s"], _summary(found)


def _starting_checkpoint(run: Run[Config]) -> Path:
    return run.directory / run.config.start_from / run.checkpoint.name


def _refuse_other_judges(run: Run[Config], found: dict[str, Any], path: Path) -> None:
    """Discriminators of the same shapes may have judged other layers. Raises ConfigError; checkpoints that do not tell are taken."""
    ours, theirs = config_dict(run.config.net), found.get("config", {}).get("net", {})
    for name, there in theirs.items():
        if (name == "features" or name.startswith("discriminator_")) and there != ours[name]:
            raise ConfigError(f"{path} holds other networks than `net` describes: its {name} is {there}, this run's {ours[name]}")


def _summary(found: dict[str, Any]) -> dict[str, Any]:
    """What a manifest tells of a starting run; checkpoints of before 26 November 2026 know of no config."""
    return {"epochs": found["epoch"], "config": found.get("config"), "started_from": found.get("started_from")}


def _starting_run(run: Run[Config]) -> dict[str, Any] | None:
    """Of a run whose checkpoint does not tell what it started from."""
    found = checkpoint.load(_starting_checkpoint(run)) if run.config.start_from else None
    return _summary(found) if found else None


def _ends_plateau(config: Config, epoch: int) -> bool:
    return epoch == config.epochs - config.decay_epochs


def _has_left_plateau(found: dict[str, Any]) -> bool:
    """True where the checkpoint does not tell how long the plateau was."""
    return bool(found["epoch"] > found["epochs"] - found.get("decay_epochs", found["epochs"]))


def load_generators(run: Run[Config]) -> tuple[Generators, dict[str, Any]]:
    """What is evaluated and exported: the averaged generators of the last finished epoch, without droplets where `peak` asks for it.

    With the checkpoint's `epoch`, `duration_s`, `trained_at`, `started_from` and `config`. Raises DataError where there is none, and
    ConfigError where it was trained with other settings.
    """
    found = checkpoint.load(run.checkpoint)
    if found is None:
        raise DataError(f"{run.checkpoint} is missing: run `axon-train {run.recipe} train` with this preset first")
    refuse_other_config(found.get("config"), run.config, FREE_WHEN_LEARNT, run.checkpoint)
    if found["epoch"] < run.config.epochs:
        print(f"this run has done {found['epoch']} of its {run.config.epochs} epochs", flush=True)
    generators = Generators(run.config.net).eval()
    generators.load_state_dict(checkpoint.averaged(found))
    if run.config.peak:
        generators = without_droplets(generators, measured_pictures(run), run.config.peak)
    progress = {name: found[name] for name in ("epoch", "duration_s", "trained_at")}
    return generators, progress | {"started_from": found.get("started_from") or _starting_run(run), "config": found.get("config")}


def measured_pictures(run: Run[Config]) -> tuple[Tensor, Tensor]:
    """Training pictures of A and of B, the same every time: what the statistics without droplets are of."""
    domains, draws = load(run), torch.Generator().manual_seed(run.config.seed)
    of_a, of_b = (draw_batch(domain, run.config.crop_size, MEASURED, draws) for domain in (domains.a, domains.b))
    return to_unit(of_a), to_unit(of_b)
