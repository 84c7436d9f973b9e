"""Train in stages: the linear part (seconds), the language model (most of the time), the classifier, short texts, the mix."""

from __future__ import annotations

import json

import numpy as np

from training.kit.config import config_dict, refuse_other_config
from training.kit.processes import launch_fabric, refuse_uneven
from training.kit.run import Run
from training.recipes.sentiment import finetune, mixing, pretrain, short_texts, wide
from training.recipes.sentiment.config import GOES_ON, Config
from training.recipes.sentiment.data import load_split, load_tokenizer, prepare


def main(run: Run[Config]) -> None:
    config, fabric = run.config, launch_fabric(run.config.threads, run.config.precision)
    refuse_uneven(fabric, **{"pretrain.batch_size": config.pretrain.batch_size, "finetune.batch_size": config.finetune.batch_size})
    if fabric.is_global_zero:
        if not (run.directory / "tokenizer.json").is_file():
            prepare(run)
        fit_wide(run)
    fabric.barrier()
    pretrain.main(run, fabric, wide.load(run.directory / wide.FILE)["teacher"])
    finetune.main(run, fabric)
    fabric.barrier()
    short_texts.main(run, fabric)
    if fabric.is_global_zero:
        mixing.main(run)
    fabric.barrier()


def fit_wide(run: Run[Config]) -> None:
    """Write `wide.npz`: the linear part's weights and bias, and its probability of "positive" for each unlabelled review.

    Where it is there already, raises ConfigError if that was fitted with other settings.
    """
    path, config = run.directory / wide.FILE, run.config
    if path.is_file():
        trained = wide.load(path).get("config")  # there since 26 November 2026
        refuse_other_config(None if trained is None else json.loads(str(trained)), config, GOES_ON["linear part"], path)
        return
    train, unlabelled = load_split(run, "train"), load_split(run, "unlabelled")
    size = load_tokenizer(run).get_vocab_size()
    weights, bias = wide.fit(wide.presence(train, config.wide, size, "n-grams"), train.labels, config.wide, config.seed)
    logits = wide.presence(unlabelled, config.wide, size, "n-grams, unlabelled") @ weights + bias
    teacher = np.concatenate([train.labels, 1 / (1 + np.exp(-logits))]).astype(np.float32)
    wide.save(path, weights=weights, bias=bias, teacher=teacher, config=json.dumps(config_dict(config)))
