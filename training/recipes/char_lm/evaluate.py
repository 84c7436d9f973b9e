"""Measure on the last 10 % of the text, in PyTorch and as the file that is served; write `evaluation.json`, samples and plots.

The averaged weights after the last epoch are what is measured and shipped; how long a run goes on is anybody's decision who sees its log.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from training.kit.export import open_session
from training.kit.run import Run
from training.kit.sanity import InsaneFigure
from training.recipes.char_lm import ngrams, plots, samples, variants
from training.recipes.char_lm.config import Config
from training.recipes.char_lm.data import Corpus, load
from training.recipes.char_lm.export import START, write_graph
from training.recipes.char_lm.scoring import Floats, Reader, carried, eager, mean_interval, served, windowed
from training.recipes.char_lm.train import load_network

NGRAM_ORDERS = (4, 5, 6)
TEMPERATURES = (0.5, 0.8, 1.0)
SHORTEST_ENTROPY = 0.15  # nats per character: no text in a natural language is so predictable
Metric = dict[str, Any]


def main(run: Run[Config]) -> None:
    torch.set_num_threads(max(run.config.threads, 1))
    corpus, network = load(run), load_network(run)
    graph = write_graph(run, network, run.directory / "export")
    reader = served(open_session(run.directory / "export" / graph.file))
    validation, block = corpus.ids("validation"), run.config.window
    nats = {
        "ONNX Runtime": {"carried": carried(reader, validation, "ONNX Runtime"), "windowed": windowed(reader, validation, block)},
        "PyTorch": {"carried": carried(eager(network), validation, "PyTorch"), "windowed": windowed(eager(network), validation, block)},
    }
    floors = measure_floors(corpus)
    best = float(nats["ONNX Runtime"]["carried"].mean())
    check_sane(best, floors["unigram"] if corpus.source is None else min(floors.values()))
    evaluation = {
        "graph_sha256": graph.sha256,
        "metrics": [metric for way, protocols in nats.items() for metric in describe(run, corpus, way, protocols)],
        "floors": floors,
        "samples": measure_samples(run, corpus, reader),
        "variants": variants.measure(network, validation, run.directory / "variants") if run.config.compare_variants else {},
        "characters": {"train": len(corpus.part("train")), "validation": len(validation)},
    }
    (run.directory / "evaluation.json").write_text(json.dumps(evaluation, indent=1) + "\n")
    plots.draw(run, nats["ONNX Runtime"]["windowed"].reshape(-1, block), best)
    for metric in evaluation["metrics"]:
        print(f"{metric['name']} {metric['value']:.4f} {metric['ci95']} (n {metric['n']:,}; {metric['split']}; {metric['note']})")
    for name in ("floors", "samples", "variants"):
        print(name, json.dumps({key: value for key, value in evaluation[name].items() if key != "texts"}, indent=1))


def measure_floors(corpus: Corpus) -> dict[str, float]:
    """Nats per character of models that count."""
    train, validation, vocabulary = corpus.ids("train"), corpus.ids("validation"), len(corpus.characters)
    floors = {"unigram": float(ngrams.unigram_nats(train, validation, vocabulary).mean())}
    for order in NGRAM_ORDERS:
        floors[f"{order}-gram"] = float(ngrams.ngram_nats(train, validation, vocabulary, order).mean())
    return {name: round(value, 4) for name, value in floors.items()}


def check_sane(nats: float, floor: float) -> None:
    """No better than counting, or a text that is known by heart, means a bug or a leak. Raises InsaneFigure."""
    if not SHORTEST_ENTROPY < nats < floor:
        raise InsaneFigure(f"{nats:.4f} nats per character where counting gives {floor:.4f}: look for a bug, or for a leak")


def describe(run: Run[Config], corpus: Corpus, way: str, protocols: dict[str, Floats]) -> list[Metric]:
    """Every figure of one way of running the model."""
    last = "last 10 % of the text, validation and test at once"
    own = "last 10 % of the text, what stands behind the work itself left out"
    window = f"blocks of {run.config.window} characters without a state before them, every character scored"
    whole = protocols["carried"]  # of every character but the first
    work = whole[: corpus.work_length() - 1]
    metrics = [
        metric(corpus, "nats_per_character", whole, last, f"{way}, state carried over the whole text"),
        metric(corpus, "bits_per_character", whole / np.log(2), last, f"{way}, state carried over the whole text"),
        metric(corpus, "nats_per_character", protocols["windowed"], last, f"{way}, {window}"),
    ]
    if len(work) < len(whole):
        metrics.append(metric(corpus, "nats_per_character", work, own, f"{way}, state carried over the whole text"))
    return metrics


def metric(corpus: Corpus, name: str, values: Floats, split: str, note: str) -> Metric:
    measured = mean_interval(values)
    ci95 = (round(measured.low, 4), round(measured.high, 4))
    data = corpus.source.name if corpus.source else "synthetic text"
    return {"name": name, "value": round(measured.value, 4), "ci95": ci95, "n": len(values), "data": data, "split": split, "note": note}


def measure_samples(run: Run[Config], corpus: Corpus, reader: Reader) -> dict[str, Any]:
    """What the model writes at three temperatures, beside as much of the text that it has not seen."""
    training_text, count, length = corpus.part("train"), run.config.samples, run.config.sample_length
    vocabulary = frozenset(samples.words(training_text))
    validation = corpus.part("validation")
    unseen = [validation[start : start + length] for start in range(0, count * length, length)]
    written = {str(t): samples.write(reader, corpus.tokenizer, START, count, length, t) for t in TEMPERATURES}
    described = {name: samples.describe(texts, training_text, vocabulary) for name, texts in {**written, "unseen text": unseen}.items()}
    return {**described, "texts": {name: texts[0] for name, texts in written.items()}}
