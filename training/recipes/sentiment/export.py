"""Write the graph, prove it, and write the manifest beside it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from app.contract.files import sha256
from app.contract.manifest import Batching, DataSource, Graph, Label, Metric, ModelManifest, TensorSpec
from app.contract.text import TextProcessor, WordTokenizer, pad
from training.kit import golden, provenance
from training.kit.data import DataError
from training.kit.export import export
from training.kit.repository import publish, staging
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.sentiment import card
from training.recipes.sentiment.config import Config
from training.recipes.sentiment.mixing import load_network, load_state
from training.recipes.sentiment.probes import PROBES

VERSION = "1"
ATOL = 1e-4
GOLDEN_ATOL = 1e-3  # another processor sums in another order; a probability moves by less than 0.0003
INPUTS = (
    TensorSpec(name="input_ids", datatype="INT64", shape=(-1, -1)),
    TensorSpec(name="lengths", datatype="INT64", shape=(-1,)),
)
OUTPUTS = (TensorSpec(name="logits", datatype="FP32", shape=(-1, 2)),)
GOLDEN_REQUEST = (
    "I went in with low expectations and came out smiling. The story is slow to start, but the two leads are wonderful "
    "together and the ending is not bad at all. I would gladly see it again."
)


def main(run: Run[Config]) -> None:
    path = run.directory / "evaluation.json"
    if not path.is_file():
        raise DataError(f"{path} is missing: run `axon-train {run.recipe} evaluate` with this preset first")
    evaluation = json.loads(path.read_text())
    torch.set_num_threads(max(run.config.threads, 1))  # as it was trained: the manifest names it
    folder = staging(run, run.recipe, VERSION)
    graph = write_graph(run, load_network(run), folder)
    if graph.sha256 != evaluation["graph_sha256"]:
        raise DataError("these weights are not those that were evaluated: run `axon-train sentiment evaluate` again")
    write_manifest(run, folder, graph, evaluation)
    print(f"wrote {publish(folder, run.models)}")


def write_graph(run: Run[Config], network: nn.Module, folder: Path) -> Graph:
    """`folder`/model.onnx, proved, and the tokenizer beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run.directory / "tokenizer.json", folder / "tokenizer.json")
    tokenizer = processor(run, folder).load(folder)
    return export(run.recipe, network, folder / "model.onnx", INPUTS, OUTPUTS, parity_cases(tokenizer, run.config.data.max_tokens), ATOL)


def write_manifest(run: Run[Config], folder: Path, graph: Graph, evaluation: dict[str, Any]) -> None:
    text = processor(run, folder)
    request = inputs([text.load(folder).encode(GOLDEN_REQUEST).input_ids])
    rows = RunLog(run.directory / "short_texts", quiet=True).rows()
    data = run.config.data
    described = card.SYNTHETIC if data.synthetic_reviews else card.film_reviews(data, evaluation["splits"])
    ModelManifest(
        schema_version=1,
        name=run.recipe,
        version=VERSION,
        task="text-classification",
        title=described.title,
        description=described.description,
        graphs={"model": graph},
        processor=text,
        labels=(Label(name="negative", title="Negative"), Label(name="positive", title="Positive")),
        temperature=evaluation["temperature"],
        batching=Batching(max_batch_size=16),
        golden=golden.record(folder / graph.file, GOLDEN_REQUEST, request, GOLDEN_ATOL),
        metrics=tuple(Metric(**metric) for metric in evaluation["metrics"]),
        measurements={
            name: evaluation[name] for name in ("parts", "probes", "fresh_probes", "reliability", "splits") if name in evaluation
        },
        provenance=provenance.describe(
            run,
            tuple(DataSource(**source) for source in load_sources(run)),
            trained_at=rows[-1]["time"],
            duration_s=duration_s(run),
            config=load_state(run).get("config"),
        ),
        license=described.license,
        intended_use=described.intended_use,
        limitations=described.limitations,
    ).save(folder)


def processor(run: Run[Config], folder: Path) -> TextProcessor:
    data = run.config.data
    return TextProcessor(sha256=sha256(folder / "tokenizer.json"), max_tokens=data.max_tokens, head_tokens=data.head_tokens)


def inputs(sequences: list[NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Texts as the server hands them to the graph."""
    input_ids, lengths = pad(sequences, pad_id=0)
    return {"input_ids": input_ids, "lengths": lengths}


def parity_cases(tokenizer: WordTokenizer, max_tokens: int) -> list[dict[str, NDArray[np.int64]]]:
    """One and three texts, one token and the most tokens, sentences of words and noise of ids."""
    draw = np.random.default_rng(0)
    noise = [draw.integers(1, tokenizer.vocabulary_size, length) for length in (7, max_tokens, 1, 2, 31)]
    sentences = [tokenizer.encode(text).input_ids for text in PROBES]
    batches = [noise[:1], noise[1:2], noise[2:3], noise[2:], noise, sentences]
    return [inputs(batch) for batch in batches]


def load_sources(run: Run[Config]) -> list[dict[str, str]]:
    """What `prepare` read: name, source, sha256 and licence of each archive."""
    sources: list[dict[str, str]] = json.loads((run.directory / "sources.json").read_text())
    return sources


def duration_s(run: Run[Config]) -> float:
    """Clock time of the LSTM's stages, from their logs."""
    return float(
        sum(row["seconds"] for stage in ("pretrain", "finetune", "short_texts") for row in RunLog(run.directory / stage, quiet=True).rows())
    )
