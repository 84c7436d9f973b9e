"""Measure both directions on test pictures, in PyTorch and as the file that is served; write `evaluation.json` and plots.

Nothing is chosen here: the averaged generators after the last epoch are what is measured and shipped.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnxruntime

from training.kit.export import open_session
from training.kit.run import Run
from training.kit.sanity import InsaneFigure
from training.recipes.cyclegan import graph, plots
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import Domains, load
from training.recipes.cyclegan.features import Features
from training.recipes.cyclegan.figures import Pixels, Real, Translate, directions, measure, measure_floors, read_real
from training.recipes.cyclegan.model import Generators
from training.recipes.cyclegan.samples import translate
from training.recipes.cyclegan.state import load_generators

SERVED = "ONNX Runtime"
BATCH = 4
SHEET_PICTURES = 8  # of each domain on the contact sheet


def main(run: Run[Config]) -> None:
    domains, (generators, progress) = load(run), load_generators(run)
    describe = Features()
    real = read_real(domains, run.config, describe)
    metrics = measure_floors(real, run.config)
    metrics += measure(real, run.config, in_pytorch(generators), describe, "PyTorch, float32 weights")
    written = graph.write(run.config.name, generators, run.directory / "model.onnx")
    served = served_by(open_session(run.directory / written.file))
    metrics += measure(real, run.config, served, describe, SERVED)
    check_sane(metrics)
    evaluation: dict[str, Any] = {
        "graph_sha256": written.sha256,
        "epoch": progress["epoch"],
        "metrics": [{**metric, "data": domains.a.source["name"]} for metric in metrics],
        "pictures": count_splits(domains),
    }
    (run.directory / "evaluation.json").write_text(json.dumps(evaluation, indent=1) + "\n")
    plots.draw(run, contact_rows(real, served), directions(run.config))
    for metric in metrics:
        print(f"{metric['name']} {metric['value']:.4f} {metric['ci95']} (n {metric['n']}; {metric['note']})")


def in_pytorch(generators: Generators) -> Translate:
    both = generators.generator_ab, generators.generator_ba
    return lambda direction, pixels: translate(both[direction], pixels)


def served_by(session: onnxruntime.InferenceSession) -> Translate:
    """The exported file, its answers rounded to uint8 as the server does."""

    def run(direction: int, pixels: Pixels) -> Pixels:
        answers = []
        for start in range(0, len(pixels), BATCH):
            batch = np.ascontiguousarray(pixels[start : start + BATCH])
            (answer,) = session.run(["reconstruction"], {"pixel_values": batch, "condition": graph.one_hot(len(batch), direction)})
            answers.append(np.rint(answer * 255).astype(np.uint8))
        return np.concatenate(answers)

    return run


def check_sane(metrics: list[dict[str, Any]]) -> None:
    """Translated pictures that are no farther from real ones than nothing means a leak or a bug. Raises InsaneFigure."""
    for metric in metrics:
        if not np.isfinite(metric["value"]) or (metric["name"] == "frechet_distance" and metric["value"] < 1e-6):
            raise InsaneFigure(f"{metric['name']} is {metric['value']} ({metric['note']}): look for a bug, or for a leak")


def contact_rows(real: Real, translate_: Translate) -> list[Pixels]:
    """Random test pictures, drawn once by a fixed seed and not chosen: A, its fakes, their way back; the same of B."""
    rows: list[Pixels] = []
    for direction in (0, 1):
        drawn = np.random.default_rng(direction).choice(real.n, min(SHEET_PICTURES, real.n), replace=False)
        there = translate_(direction, real.unseen[direction][drawn])
        rows += [real.unseen[direction][drawn], there, translate_(1 - direction, there)]
    return rows


def count_splits(domains: Domains) -> dict[str, dict[str, int]]:
    return {name: {split: len(rows) for split, rows in domain.splits.items()} for name, domain in (("a", domains.a), ("b", domains.b))}
