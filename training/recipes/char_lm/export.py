"""Write the graph, prove it, and write the manifest beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app.contract.manifest import Batching, Graph, Metric, ModelManifest
from app.contract.text import CharacterProcessor
from training.kit import golden, provenance
from training.kit.data import DataError
from training.kit.export import proved
from training.kit.repository import publish, staging
from training.kit.run import Run
from training.recipes.char_lm import card, graph
from training.recipes.char_lm.config import Config
from training.recipes.char_lm.data import load
from training.recipes.char_lm.model import CharLSTM
from training.recipes.char_lm.quantized import QuantizedStep
from training.recipes.char_lm.tensors import parity_cases, tensor_specs
from training.recipes.char_lm.train import load_network, load_state

VERSION = "1"
START = "\n"  # what an empty prompt stands for
TEMPERATURE = 0.8  # where the request names none
ATOL = 0.1  # equal to 1e-5 until an activation lies so near between two steps that one side rounds it up and the other down
GOLDEN_ATOL = 0.2  # of logits that go from -15 to 15
GOLDEN_CHARACTERS = 60


def main(run: Run[Config]) -> None:
    path = run.directory / "evaluation.json"
    if not path.is_file():
        raise DataError(f"{path} is missing: run `axon-train {run.recipe} evaluate` with this preset first")
    evaluation = json.loads(path.read_text())
    torch.set_num_threads(max(run.config.threads, 1))  # as it was trained: the manifest names it
    folder = staging(run, run.config.name, VERSION)
    described = write_graph(run, load_network(run), folder)
    if described.sha256 != evaluation["graph_sha256"]:
        raise DataError(f"these weights are not those that were evaluated: run `axon-train {run.recipe} evaluate` again")
    write_manifest(run, folder, described, evaluation)
    print(f"wrote {publish(folder, run.models)}")


def write_graph(run: Run[Config], network: CharLSTM, folder: Path) -> Graph:
    """`folder`/model.onnx, proved."""
    step, path = QuantizedStep(network), folder / "model.onnx"
    graph.write(step, path)
    inputs, outputs = tensor_specs(network)
    return proved(run.config.name, step.eval(), path, inputs, outputs, parity_cases(network), ATOL)


def write_manifest(run: Run[Config], folder: Path, described: Graph, evaluation: dict[str, Any]) -> None:
    corpus, state = load(run), load_state(run) or {}
    sources = (corpus.source,) if corpus.source else ()
    origin = provenance.describe(run, sources, state["trained_at"], state["duration_s"], config=state.get("config"))
    about = card.of(run.config.corpus, run.config.net.layers, origin.trained_at)
    request = corpus.part("validation")[:GOLDEN_CHARACTERS]
    shape = described.inputs[2].shape[1:]
    inputs = {
        "input_ids": corpus.tokenizer.encode(request)[None],
        "lengths": np.array([len(request)]),
        "state": np.zeros((1, *shape), dtype=np.float32),
    }
    ModelManifest(
        schema_version=1,
        name=run.config.name,
        version=VERSION,
        task="text-generation",
        title=about.title,
        description=about.description,
        graphs={"model": described},
        processor=CharacterProcessor(characters=corpus.characters),
        defaults={"start": START, "temperature": TEMPERATURE},
        batching=Batching(max_batch_size=64),
        golden=golden.record(folder / described.file, request, inputs, GOLDEN_ATOL),
        metrics=tuple(Metric(**metric) for metric in evaluation["metrics"]),
        measurements={name: evaluation[name] for name in ("floors", "samples", "variants", "characters")},
        provenance=origin,
        license=about.license,
        intended_use=about.intended_use,
        limitations=about.limitations,
    ).save(folder)
