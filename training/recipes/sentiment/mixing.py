"""Stage 3: how much each part counts. Fitted on validation reviews, which neither part has read: there both parts' logits
are as uncertain as they will be in service, so the sum is calibrated and needs no further temperature."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from training.kit import checkpoint
from training.kit.data import DataError
from training.kit.run import Run
from training.recipes.sentiment import finetune, wide
from training.recipes.sentiment.config import Config
from training.recipes.sentiment.data import load_split, load_tokenizer
from training.recipes.sentiment.model import Classifier
from training.recipes.sentiment.network import SentimentNet, Wide

FILE = "mix.json"


def main(run: Run[Config]) -> None:
    """Write `mix.json`: the weight of each part's logit, and a bias."""
    validation = load_split(run, "validation")
    classifier, linear = load_parts(run)
    deep_logits = finetune.predict(classifier, validation).numpy()
    weights, bias = linear
    size = load_tokenizer(run).get_vocab_size()
    wide_logits = wide.presence(validation, run.config.wide, size) @ weights + bias
    parts = np.stack([deep_logits, wide_logits], axis=1)  # (n, 2)
    model = LogisticRegression(C=1e6).fit(parts, validation.labels)
    deep_weight, wide_weight = (float(value) for value in model.coef_[0])
    mix = {"deep": deep_weight, "wide": wide_weight, "bias": float(model.intercept_[0]) + wide_weight * bias}
    right = {
        "deep": deep_logits > 0,
        "wide": wide_logits > 0,
        "both": model.predict(parts) == 1,
    }
    accuracy = {name: float((answers == (validation.labels == 1)).mean()) for name, answers in right.items()}
    (run.directory / FILE).write_text(json.dumps({"weights": mix, "validation_accuracy": accuracy}, indent=1) + "\n")
    print("mix: " + "  ".join(f"{name} {value:.4f}" for name, value in {**mix, **accuracy}.items()), flush=True)


def load_parts(run: Run[Config]) -> tuple[Classifier, tuple[np.ndarray, float]]:
    """The classifier of the best epoch, and the linear part's weights and bias."""
    state = checkpoint.load(run.directory / finetune.BEST)
    if state is None or not (run.directory / "wide.npz").is_file():
        raise DataError(f"{run.directory} holds no trained parts: run `axon-train sentiment train` with this preset first")
    classifier = finetune.build(run)
    classifier.load_state_dict(state["module"])
    with np.load(run.directory / "wide.npz") as file:
        return classifier, (file["weights"], float(file["bias"]))


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
