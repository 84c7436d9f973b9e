"""Stage 4: how much each part counts. Fitted on validation reviews, which neither part has read: there both parts' logits
are as uncertain as they will be in service, so the sum is calibrated and needs no further temperature."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from training.kit.data import DataError
from training.kit.run import Run
from training.recipes.sentiment import finetune, pretrain, short_texts, wide
from training.recipes.sentiment.config import Config
from training.recipes.sentiment.data import load_split, load_tokenizer
from training.recipes.sentiment.model import Classifier
from training.recipes.sentiment.network import SentimentNet, Wide, length_share

FILE = "mix.json"


def main(run: Run[Config]) -> None:
    """Write `mix.json`: the weight of each part's logit, and a bias."""
    validation = load_split(run, "validation")
    classifier, linear = load_parts(run)
    deep_logits = finetune.predict(classifier, validation).numpy()
    weights, bias = linear
    size = load_tokenizer(run).get_vocab_size()
    wide_logits = wide.presence(validation, run.config.wide, size) @ weights + bias
    share = length_share(torch.from_numpy(validation.lengths)).numpy()  # (n,)
    mix = fit(deep_logits, wide_logits - bias, share, validation.labels)
    both = deep_logits + share * ((mix["deep"] - 1) * deep_logits + mix["wide"] * (wide_logits - bias) + mix["bias"])
    right = {"deep": deep_logits > 0, "wide": wide_logits > 0, "both": both > 0}
    accuracy = {name: float((answers == (validation.labels == 1)).mean()) for name, answers in right.items()}
    (run.directory / FILE).write_text(json.dumps({"weights": mix, "validation_accuracy": accuracy}, indent=1) + "\n")
    print("mix: " + "  ".join(f"{name} {value:.4f}" for name, value in {**mix, **accuracy}.items()), flush=True)


def fit(deep: np.ndarray, linear: np.ndarray, share: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The weights with the least negative log-likelihood of `network.SentimentNet`'s sum; every array is (n,)."""
    parts = np.stack([deep, linear, np.ones_like(deep)], axis=1) * share[:, None]  # (n, 3)
    sign = np.where(labels == 1, 1.0, -1.0)

    def loss(weights: np.ndarray) -> float:
        return float(np.logaddexp(0, -sign * (deep + parts @ (weights - [1, 0, 0]))).mean())

    found = minimize(loss, x0=[0.5, 0.5, 0.0], method="BFGS")
    return dict(zip(("deep", "wide", "bias"), map(float, found.x), strict=True))


def load_parts(run: Run[Config]) -> tuple[Classifier, tuple[np.ndarray, float]]:
    """The trained classifier, and the linear part's weights and bias."""
    state = load_state(run)
    if not state or not (run.directory / wide.FILE).is_file():
        raise DataError(f"{run.directory} holds no trained parts: run `axon-train sentiment train` with this preset first")
    classifier = finetune.build(run)
    classifier.load_state_dict(state["module"])
    linear = wide.load(run.directory / wide.FILE)
    return classifier, (linear["weights"], float(linear["bias"]))


def load_state(run: Run[Config]) -> dict[str, Any]:
    """What the last stage wrote, if anything: its settings are those of all stages. Raises ConfigError where the run has others."""
    return pretrain.load(run, short_texts.FILE, "short texts")


def load_network(run: Run[Config]) -> SentimentNet:
    """The trained parts, mixed: what is evaluated and exported."""
    classifier, (weights, _) = load_parts(run)
    path = run.directory / FILE
    if not path.is_file():
        raise DataError(f"{path} is missing: run `axon-train sentiment train` with this preset first")
    mix: dict[str, Any] = json.loads(path.read_text())["weights"]
    linear = Wide(weights, load_tokenizer(run).get_vocab_size(), run.config.wide.log2_buckets)
    network = SentimentNet(classifier, linear, mix["deep"], mix["wide"], mix["bias"])
    return network.eval().requires_grad_(False)
