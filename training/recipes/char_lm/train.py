"""Train the character model. The loop is here in full; Lightning Fabric places it on a CPU, a GPU or many processes.

Places of the text, evenly apart, are read side by side; each carries its state from chunk to chunk (truncated
back-propagation through time). A run that was killed goes on from its last finished epoch with the same command, to
the same result: every epoch's draws come from (seed, epoch). With several processes each one reads its part of the places.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from training.kit import checkpoint
from training.kit.config import ConfigError, config_dict, refuse_other_config
from training.kit.data import DataError
from training.kit.processes import launch_fabric, refuse_uneven
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.char_lm.config import GOES_ON, Config
from training.recipes.char_lm.data import Corpus, load
from training.recipes.char_lm.model import CharLSTM


def main(run: Run[Config]) -> None:
    config, fabric = run.config, launch_fabric(run.config.threads, run.config.precision)
    refuse_uneven(fabric, batch_size=config.batch_size)
    load_state(run)  # refuses other settings before anything is prepared
    if fabric.is_global_zero:
        load(run)  # prepares what is missing, once
    fabric.barrier()
    corpus = load(run)
    train, validation = corpus.ids("train"), corpus.ids("validation")
    refuse_short(train, validation, config)
    torch.manual_seed(config.seed)
    network = build(config, corpus)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay)).to(fabric.device)
    model, optimizer = fabric.setup(network, optimizer_for(network, config))
    start, duration_s = resume(run, network, average, optimizer)
    log = RunLog(run.directory, run.recipe, resume_epoch=start, quiet=not fabric.is_global_zero)
    steps = chunks_of(len(train), config)
    mine = slice(fabric.global_rank, None, fabric.world_size)  # this process's places
    for epoch in range(start, config.epochs):
        began, losses = time.perf_counter(), []
        torch.manual_seed(hash((config.seed, epoch, fabric.global_rank)))  # dropout
        model.train()
        state = network.zero_state(config.batch_size)[mine]
        chunks = tqdm(draw_chunks(train, config, epoch), f"epoch {epoch}", steps, disable=not fabric.is_global_zero, mininterval=10)
        for step, (characters, kept) in enumerate(chunks):
            set_learning_rate(optimizer, config, epoch * steps + step, config.epochs * steps)
            characters = characters[mine].to(fabric.device)  # (B, T + 1)
            logits, state = model(characters[:, :-1], state * kept[mine].to(fabric.device))  # (B, T, V)
            loss = F.cross_entropy(logits.flatten(0, 1), characters[:, 1:].flatten())
            fabric.backward(loss)
            fabric.clip_gradients(model, optimizer, max_norm=config.max_gradient_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update_parameters(network)
            state = state.detach()
            losses.append(fabric.all_reduce(loss.detach(), reduce_op="mean").item())
        if fabric.is_global_zero:
            measured = measure(average.module, validation, config.validation_streams)
            seconds = time.perf_counter() - began
            duration_s += seconds
            log.write(epoch, train_loss=float(np.mean(losses)), validation_loss=measured, seconds=seconds)
            save(run, network, average, optimizer, epoch=epoch + 1, duration_s=duration_s, trained_at=time.time())
        fabric.barrier()


def build(config: Config, corpus: Corpus) -> CharLSTM:
    return CharLSTM(config.net, len(corpus.characters))


def optimizer_for(network: nn.Module, config: Config) -> torch.optim.AdamW:
    """AdamW; no weight decay on biases."""
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    biases = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": biases, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.99), fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, config: Config, step: int, steps: int) -> None:
    """Warm-up, a plateau, a straight line down to nothing (Hägele et al. 2024, arXiv:2405.18392): on the plateau a run may still be cut."""
    warm = (step + 1) / config.warmup_steps if config.warmup_steps else 1.0
    down = (steps - step) / (config.cooldown_share * steps) if config.cooldown_share else 1.0
    for group in optimizer.param_groups:
        group["lr"] = config.learning_rate * min(1.0, warm, down)


def chunks_of(length: int, config: Config) -> int:
    """Whole chunks that each place reads in an epoch."""
    return (length // config.batch_size - 1) // config.chunk


def refuse_short(train: NDArray[np.int64], validation: NDArray[np.int64], config: Config) -> None:
    """Raises ConfigError where an epoch would make no step, and still count as done, or measure nothing."""
    if chunks_of(len(train), config) < 1:
        asked = f"batch_size={config.batch_size} times chunk={config.chunk}"
        raise ConfigError(f"{asked} is more than the {len(train):,} characters of the text to train on: set smaller ones")
    shortest = max(2 * config.validation_streams, config.window + 1)  # of each stream and window one character is scored
    if len(validation) < shortest:
        asked = f"validation_streams={config.validation_streams} and window={config.window}"
        raise ConfigError(f"{asked} need {shortest:,} characters of a text to measure on that has {len(validation):,}: set smaller ones")


def draw_chunks(ids: NDArray[np.int64], config: Config, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """An epoch: characters (B, T + 1), the last of which is the next chunk's first, and which states are kept (B, 1, 1).

    The text is turned by a random offset each epoch, so that its places and its chunks begin elsewhere.
    """
    generator = np.random.default_rng((config.seed, epoch))
    turned = np.roll(ids, -int(generator.integers(len(ids))))
    length = len(ids) // config.batch_size
    places = torch.from_numpy(turned[: length * config.batch_size].reshape(config.batch_size, length))
    for start in range(0, chunks_of(len(ids), config) * config.chunk, config.chunk):
        kept = generator.random((config.batch_size, 1, 1)) >= config.reset_probability
        yield places[:, start : start + config.chunk + 1], torch.from_numpy(kept)


@torch.no_grad()
def measure(network: CharLSTM, ids: NDArray[np.int64], streams: int) -> float:
    """Nats per character of a text cut into `streams` parts, each read from a zero state, which it carries to its end."""
    network.eval()
    device = network.head.weight.device
    length = len(ids) // streams
    parts = torch.from_numpy(ids[: length * streams].reshape(streams, length)).to(device)
    state, total = network.zero_state(streams), 0.0
    for start in range(0, length - 1, 512):
        characters = parts[:, start : start + 513]
        logits, state = network(characters[:, :-1], state)
        total += F.cross_entropy(logits.flatten(0, 1), characters[:, 1:].flatten(), reduction="sum").item()
    return total / (streams * (length - 1))


def save(run: Run[Config], network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer, **progress: Any) -> None:
    state = {"model": network.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    checkpoint.save(run.checkpoint, {**state, **progress, "config": config_dict(run.config)})


def load_state(run: Run[Config]) -> dict[str, Any] | None:
    """What `save` wrote, if anything. Raises ConfigError where that was trained with other settings than the run has."""
    state = checkpoint.load(run.checkpoint)
    if state is not None:
        refuse_other_config(state.get("config"), run.config, GOES_ON, run.checkpoint)  # told since 26 November 2026
    return state


def resume(run: Run[Config], network: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    """Bring back the last finished epoch: (epoch to do next, seconds spent)."""
    state = load_state(run)
    if state is None:
        return 0, 0.0
    network.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    return state["epoch"], state["duration_s"]


def load_network(run: Run[Config]) -> CharLSTM:
    """The averaged weights of the last finished epoch."""
    state = load_state(run)
    if state is None:
        raise DataError(f"{run.checkpoint} is missing: run `axon-train {run.recipe} train` with this preset first")
    if state["epoch"] < run.config.epochs:
        print(f"this run has done {state['epoch']} of its {run.config.epochs} epochs", flush=True)
    network = CharLSTM(run.config.net, len(load(run).characters))
    network.load_state_dict(checkpoint.averaged(state))
    return network.eval()
