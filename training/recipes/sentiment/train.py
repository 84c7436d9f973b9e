"""Train in stages: the linear part (seconds), the language model (most of the time), the classifier, short texts, the mix."""

from __future__ import annotations

import numpy as np

from training.kit.processes import launch_fabric
from training.kit.run import Run
from training.recipes.sentiment import finetune, mixing, pretrain, short_texts, wide
from training.recipes.sentiment.config import Config
from training.recipes.sentiment.data import load_split, load_tokenizer, prepare


def main(run: Run[Config]) -> None:
    fabric = launch_fabric(run.config.threads, run.config.precision)
    if fabric.is_global_zero:
        if not (run.directory / "tokenizer.json").is_file():
            prepare(run)
        fit_wide(run)
    fabric.barrier()
    with np.load(run.directory / "wide.npz") as file:
        teacher = file["teacher"]
    pretrain.main(run, fabric, teacher)
    finetune.main(run, fabric)
    fabric.barrier()
    short_texts.main(run, fabric)
    if fabric.is_global_zero:
        mixing.main(run)
    fabric.barrier()


def fit_wide(run: Run[Config]) -> None:
    """Write `wide.npz`: the linear part's weights and bias, and its probability of "positive" for each unlabelled review."""
    path = run.directory / "wide.npz"
    if path.is_file():
        return
    train, unlabelled = load_split(run, "train"), load_split(run, "unlabelled")
    size = load_tokenizer(run).get_vocab_size()
    weights, bias = wide.fit(wide.presence(train, run.config.wide, size), train.labels, run.config.wide)
    logits = wide.presence(unlabelled, run.config.wide, size) @ weights + bias
    teacher = np.concatenate([train.labels, 1 / (1 + np.exp(-logits))]).astype(np.float32)
    np.savez(path, weights=weights, bias=bias, teacher=teacher)
