"""Stage 3: a few minutes on short texts. Reviews hardly teach what four words mean, and in a pass over all of them short texts drown.

Several batches of phrases and short spans to one of whole reviews, at a small learning rate, from the best epoch of the fine-tuning.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from lightning_fabric import Fabric
from numpy.typing import NDArray
from tqdm import tqdm

from training.kit import checkpoint
from training.kit.config import config_dict
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.sentiment import finetune, pretrain
from training.recipes.sentiment.config import Config
from training.recipes.sentiment.data import load_split
from training.recipes.sentiment.epochs import Epoch, Phrases

FILE = "short_texts.pt"


def main(run: Run[Config], fabric: Fabric) -> None:
    """Write `short_texts.pt`, anew when the fine-tuning has a better epoch; what was interrupted starts again: it takes minutes."""
    config = run.config.short_texts
    saved, done = checkpoint.load(run.directory / finetune.BEST), checkpoint.load(run.directory / FILE) or {}
    if saved is None or done.get("epoch") == saved["epoch"]:
        pretrain.load(run, FILE, "short texts")  # refuses other settings
        return
    module, optimizer = finetune.start(run, fabric, saved["module"])
    drawn = replace(run.config.finetune, phrases=config.phrases, spans_per_review=config.spans_per_review)
    epoch = Epoch.draw(load_split(run, "train"), Phrases.read(run), drawn, (run.config.seed, 1_000))
    plan = interleave(epoch, run.config.finetune.longest_span, config.short_per_review)
    log, started = RunLog(run.directory / "short_texts", run.recipe, quiet=not fabric.is_global_zero), time.perf_counter()
    rows = slice(fabric.global_rank, None, fabric.world_size)
    for number, group in enumerate(tqdm(plan, unit="batch", disable=not fabric.is_global_zero, mininterval=30)):
        pretrain.seed_step(run.config.seed, number, fabric.global_rank)
        pretrain.set_learning_rate(optimizer, config.learning_rate * pretrain.schedule(number / len(plan)))
        finetune.step(fabric, module, optimizer, epoch.batch(group[rows], drawn.word_dropout), drawn)
    scores = finetune.evaluate(module, load_split(run, "validation"))
    log.write(0, seconds=time.perf_counter() - started, **scores)
    if fabric.is_global_zero:
        state = {"module": module.state_dict(), "epoch": saved["epoch"], "config": config_dict(run.config)}
        checkpoint.save(run.directory / FILE, state)


def interleave(epoch: Epoch, longest_span: int, short_per_review: int) -> list[NDArray[np.int64]]:
    """All groups of short texts, and after every `short_per_review` of them one of longer reviews."""
    longest = [max(len(epoch.sequences[index]) for index in group) for group in epoch.groups]
    short = [group for group, length in zip(epoch.groups, longest, strict=True) if length <= longest_span]
    reviews = iter([group for group, length in zip(epoch.groups, longest, strict=True) if length > longest_span])
    plan = []
    for number, group in enumerate(short, start=1):
        plan.append(group)
        if number % short_per_review == 0:
            plan += [review for review in [next(reviews, None)] if review is not None]
    return plan
