"""Measure on the official test reviews, once in PyTorch and once as the exported file; write `evaluation.json` and plots.

Test reviews whose text also occurs among the training texts (the data set holds some twice) are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from app.contract.classification import softmax
from training.kit.calibration import expected_calibration_error, fit_temperature, negative_log_likelihood, reliability
from training.kit.export import open_session
from training.kit.roc import GroupBootstrap
from training.kit.run import Run
from training.kit.sanity import InsaneFigure
from training.recipes.sentiment import plots, wide
from training.recipes.sentiment.config import Config
from training.recipes.sentiment.data import OFFICIAL_TEST, SPLITS, Split, load_split
from training.recipes.sentiment.export import inputs, processor, write_graph
from training.recipes.sentiment.mixing import load_network, load_parts
from training.recipes.sentiment.network import SentimentNet, length_share
from training.recipes.sentiment.probes import FRESH_PROBES, PROBES

BATCH = 16
Logits = NDArray[np.float32]
Answer = Callable[[dict[str, NDArray[np.int64]]], Logits]


def main(run: Run[Config]) -> None:
    torch.set_num_threads(max(run.config.threads, 1))
    network = load_network(run)
    folder = run.directory / "export"
    graph = write_graph(run, network, folder)
    session = open_session(folder / graph.file, max(run.config.threads, 1))
    validation, found = load_split(run, "validation"), load_split(run, "test")
    test = unseen(found, *seen_splits(run))

    def served(tensors: dict[str, NDArray[np.int64]]) -> Logits:
        return np.asarray(session.run(["logits"], tensors)[0])

    temperature = fit_temperature(predict(served, validation, "validation, ONNX Runtime"), validation.labels)
    logits = predict(served, test, "test, ONNX Runtime")
    figures = measure(logits, test.labels, temperature)
    check_sane(figures)
    eager_figures = measure(predict(eager(network), test, "test, PyTorch"), test.labels, temperature)
    groups = reliability(softmax(logits, temperature), test.labels)
    evaluation: dict[str, Any] = {
        "graph_sha256": graph.sha256,
        "temperature": temperature,
        "metrics": [
            {"name": name, **figure, "n": len(test), **describe_data(run, len(found)), "note": way}
            for way, measured in (("ONNX Runtime", figures), ("PyTorch", eager_figures))
            for name, figure in measured.items()
        ],
        "parts": accuracy_of_parts(run, network, logits, test),
        "probes": probe(run, folder, served, temperature, PROBES),
        "fresh_probes": probe(run, folder, served, temperature, FRESH_PROBES),
        "reliability": {name: np.asarray(getattr(groups, name)).round(4).tolist() for name in ("confidence", "accuracy", "count")},
        "splits": {name: len(load_split(run, name)) for name in SPLITS} | {"test_measured": len(test)},
    }
    (run.directory / "evaluation.json").write_text(json.dumps(evaluation, indent=1) + "\n")
    plots.draw(run, evaluation)
    for metric in evaluation["metrics"]:
        print(f"{metric['name']} {metric['value']:.4f} {metric.get('ci95', '')} ({metric['note']}, n {metric['n']})")
    print(f"parts {evaluation['parts']}, temperature {temperature:.3f}")


def seen_splits(run: Run[Config]) -> list[Split]:
    return [load_split(run, name) for name in ("train", "validation", "unlabelled")]


def unseen(test: Split, *seen: Split) -> Split:
    """The test reviews whose text is in none of the other splits."""
    known = {split[index].tobytes() for split in seen for index in range(len(split))}
    return test.take([index for index in range(len(test)) if test[index].tobytes() not in known])


def eager(network: SentimentNet) -> Answer:
    """The PyTorch module behind the same call as the exported file."""

    @torch.no_grad()
    def answer(tensors: dict[str, NDArray[np.int64]]) -> Logits:
        logits: Logits = network(torch.from_numpy(tensors["input_ids"]), torch.from_numpy(tensors["lengths"])).numpy()
        return logits

    return answer


def accuracy_of_parts(run: Run[Config], network: SentimentNet, logits: Logits, test: Split) -> dict[str, float]:
    """What each part would score alone: the linear part is computed again, and taken out of the sum for the other."""
    _, (weights, bias) = load_parts(run)
    wide_logits = wide.presence(test, run.config.wide, len(network.embedding), "test, n-grams") @ weights  # (n,)
    share = length_share(torch.from_numpy(test.lengths)).numpy()  # (n,)
    without = logits[:, 1] - logits[:, 0] - share * (network.wide_weight * wide_logits + network.bias)
    deep_logits = without / (1 + share * (network.deep_weight - 1))
    right = {"deep": deep_logits > 0, "wide": wide_logits + bias > 0}
    return {part: round(float((answers == (test.labels == 1)).mean()), 5) for part, answers in right.items()}


def predict(answer: Answer, split: Split, title: str) -> Logits:
    """Logits of every review, (n, 2)."""
    logits = np.empty((len(split), 2), dtype=np.float32)
    order = np.argsort(split.lengths, kind="stable")
    for start in tqdm(range(0, len(order), BATCH), desc=title, unit="batch", mininterval=5):
        rows = order[start : start + BATCH]
        logits[rows] = answer(inputs([split[index] for index in rows]))
    return logits


def measure(logits: Logits, labels: NDArray[np.int64], temperature: float) -> dict[str, dict[str, Any]]:
    """Accuracy and AUROC with their 95 % bootstrap intervals, over reviews, and the calibration error."""
    probabilities = softmax(logits, temperature)
    bootstrap = GroupBootstrap([str(index) for index in range(len(labels))], replicates=1000)
    accuracy = bootstrap.accuracy(probabilities.argmax(axis=1) == labels)
    auroc = bootstrap.auroc(probabilities[:, 1], labels == 1)
    return {
        "accuracy": {"value": round(accuracy.value, 5), "ci95": (round(accuracy.low, 5), round(accuracy.high, 5))},
        "auroc": {"value": round(auroc.value, 5), "ci95": (round(auroc.low, 5), round(auroc.high, 5))},
        "expected_calibration_error": {"value": round(expected_calibration_error(probabilities, labels), 5)},
        "negative_log_likelihood": {"value": round(negative_log_likelihood(probabilities, labels), 5)},
    }


def check_sane(figures: dict[str, dict[str, Any]]) -> None:
    """A coin's accuracy, or a perfect one, means a bug or a leak. Raises InsaneFigure."""
    accuracy = figures["accuracy"]["value"]
    if not 0.6 < accuracy < 0.9995:
        raise InsaneFigure(f"accuracy on unseen reviews is {accuracy}: look for a bug, or for test reviews in the training data")


def describe_data(run: Run[Config], found: int) -> dict[str, str]:
    """What the figures are of; `found` are the test reviews that `prepare` found."""
    if run.config.data.synthetic_reviews:
        return {"data": "synthetic reviews", "split": "test"}
    split = f"official test, {found:,} of its {OFFICIAL_TEST:,} reviews; texts that also occur in training left out"
    return {"data": "Large Movie Review Dataset (Maas et al. 2011)", "split": split}


def probe(run: Run[Config], folder: Path, served: Answer, temperature: float, texts: dict[str, str]) -> list[dict[str, Any]]:
    """P(positive) of each sentence of `texts`, which maps it to what it means."""
    tokenizer = processor(run, folder).load(folder)
    logits = np.concatenate([served(inputs([tokenizer.encode(text).input_ids])) for text in texts])
    probabilities = softmax(logits, temperature)[:, 1]
    return [
        {"text": text, "expected": expected, "positive": round(float(probability), 3)}
        for (text, expected), probability in zip(texts.items(), probabilities, strict=True)
    ]
