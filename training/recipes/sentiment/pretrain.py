"""Stage 1: the LSTM learns English film talk as a language model (Dai & Le 2015; Howard & Ruder 2018).

Where we differ: beside the next word it predicts, at every word, the review's verdict: the label where there is
one, on unlabelled reviews the probability that the linear part gives (distillation, Hinton et al. 2015).
The state is carried through a review and starts from zero at the next.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from training.kit import checkpoint
from training.kit.config import ConfigError, config_dict, refuse_other_config
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.sentiment.batches import chunks, groups, pad
from training.recipes.sentiment.config import GOES_ON, Config, PretrainConfig
from training.recipes.sentiment.data import load_split, load_tokenizer
from training.recipes.sentiment.losses import NegativeSampler
from training.recipes.sentiment.model import LanguageModel, Reader

FILE = "language_model.pt"


def main(run: Run[Config], fabric: Fabric, teacher: np.ndarray) -> None:
    """Write `language_model.pt`; go on from it where there is one. `teacher`: P(positive) of each train and then unlabelled review."""
    config = run.config.pretrain
    corpus = Corpus(run)
    saved = load(run, FILE, "language model")
    if saved.get("done"):
        return
    torch.manual_seed(run.config.seed)
    module = LanguageModel(Reader(run.config.net, corpus.vocabulary_size), config)
    module, optimizer = fabric.setup(module, torch.optim.Adam(module.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), fused=True))
    plan = corpus.plan(run.config.seed, config.epochs, config.batch_size)
    refuse_no_batch(plan, config, len(corpus))
    steps = [corpus.steps(group, config.chunk) for group in plan]
    first = resume(saved, module, optimizer)
    sampler = NegativeSampler(corpus.counts(), config.frequent, config.sampled)
    log = RunLog(run.directory / "pretrain", run.recipe, resume_epoch=saved.get("report", 0), quiet=not fabric.is_global_zero)
    progress = tqdm(total=sum(steps), initial=sum(steps[:first]), unit="step", disable=not fabric.is_global_zero, mininterval=30)
    step, meter, started = sum(steps[:first]), torch.zeros(3), time.perf_counter()
    rows = slice(fabric.global_rank, None, fabric.world_size)  # this process's reviews of each group
    scale = fabric.world_size / (config.batch_size * config.chunk)

    for number in range(first, len(plan)):
        generator = torch.Generator().manual_seed(run.config.seed * 1_000_003 + number)
        seed_step(run.config.seed, number, fabric.global_rank)
        input_ids, _ = pad([corpus[index] for index in plan[number]])
        input_ids, verdicts = input_ids[rows].to(fabric.device), torch.from_numpy(teacher[plan[number]])[rows].to(fabric.device)
        state = module.reader.zero_state(len(verdicts))
        for inputs, targets in chunks(input_ids, config.chunk):
            set_learning_rate(optimizer, config.learning_rate * schedule(step / sum(steps)))
            negatives, log_expected = (drawn.to(fabric.device) for drawn in sampler.draw(generator))
            language, verdict, state = module(inputs, targets, verdicts, negatives, log_expected, state)
            fabric.backward((language + config.teacher_weight * verdict) * scale)
            fabric.clip_gradients(module, optimizer, max_norm=config.max_gradient_norm)
            optimizer.step()
            optimizer.zero_grad()
            meter += torch.stack([language.detach(), verdict.detach(), (targets != 0).sum().float()]).cpu()
            progress.update()
            step += 1
        if (number + 1) % config.save_every == 0 or number + 1 == len(plan):
            language, verdict, words = fabric.all_reduce(meter, reduce_op="sum").tolist()
            report = number // config.save_every
            seconds = time.perf_counter() - started
            log.write(report, language=language / words, verdict=verdict / words, words_per_s=words / seconds, seconds=seconds)
            meter, started = torch.zeros(3), time.perf_counter()
            save(run, fabric, FILE, module, optimizer, group=number + 1, report=report + 1, done=number + 1 == len(plan))


def refuse_no_batch(plan: Sequence[Any], config: PretrainConfig, reviews: int) -> None:
    """Raises ConfigError where a pass over the reviews is asked for, and would be none."""
    if config.epochs and not plan:
        asked = f"pretrain.epochs={config.epochs} with pretrain.batch_size={config.batch_size}"
        raise ConfigError(f"{asked} make no batch of {reviews:,} reviews")


def resume(saved: dict[str, Any], module: Any, optimizer: torch.optim.Optimizer) -> int:
    """Bring back what `save` wrote, if anything: the group of reviews to do next."""
    if saved:
        module.load_state_dict(saved["module"])
        optimizer.load_state_dict(saved["optimizer"])
    return int(saved.get("group", 0))


def load(run: Run[Config], file: str, stage: str) -> dict[str, Any]:
    """What `save` wrote, if anything. Raises ConfigError where the stage was trained with other settings than the run has."""
    path = run.directory / file
    saved = checkpoint.load(path) or {}
    refuse_other_config(saved.get("config"), run.config, GOES_ON[stage], path)  # told since 26 November 2026
    return saved


def seed_step(seed: int, number: int, rank: int) -> None:
    """What is dropped differs from step to step and from process to process, and is the same after an interruption."""
    torch.manual_seed(seed * 1_000_003 + number + rank * 1_000_000_007)


def set_learning_rate(optimizer: Any, rate: float) -> None:
    """For every parameter, times its group's own `rate` where it has one."""
    for parameters in optimizer.param_groups:
        parameters["lr"] = rate * parameters.get("rate", 1.0)


def schedule(done: float) -> float:
    """Factor of the learning rate when a share `done` of the steps is made: five percent of warm-up, then a straight line down."""
    return min(20 * done + 0.01, 1.0, 1.05 - done)


class Corpus:
    """The training and the unlabelled reviews, one after the other."""

    def __init__(self, run: Run[Config]) -> None:
        self.splits = load_split(run, "train"), load_split(run, "unlabelled")
        self.lengths = np.concatenate([split.lengths for split in self.splits])
        self.vocabulary_size = load_tokenizer(run).get_vocab_size()

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> np.ndarray:
        labelled, unlabelled = self.splits
        return labelled[index] if index < len(labelled) else unlabelled[index - len(labelled)]

    def plan(self, seed: int, epochs: float, batch_size: int) -> list[np.ndarray]:
        """All groups of all passes, in order."""
        passes = [group for epoch in range(int(np.ceil(epochs))) for group in groups(self.lengths, batch_size, (seed, epoch))]
        return passes[: round(len(self.lengths) // batch_size * epochs)]

    def steps(self, group: np.ndarray, chunk: int) -> int:
        return -(-(int(self.lengths[group].max()) - 1) // chunk)

    def counts(self) -> Tensor:
        """How often each word of the vocabulary occurs, (V,)."""
        counts = sum(np.bincount(split.ids, minlength=self.vocabulary_size) for split in self.splits)
        return torch.from_numpy(np.asarray(counts))


def save(run: Run[Config], fabric: Fabric, file: str, module: Any, optimizer: Any, **progress: Any) -> None:
    """Weights, the optimizer's state and how far the stage has come; written by the main process alone."""
    if fabric.is_global_zero:
        state = {"module": module.state_dict(), "optimizer": optimizer.state_dict(), "config": config_dict(run.config), **progress}
        checkpoint.save(run.directory / file, state)
