"""Write the graph, prove it, and write the manifest beside it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from app.contract.conditions import Choice, Condition
from app.contract.images import PhotographProcessor
from app.contract.manifest import Batching, DataSource, Graph, Metric, ModelManifest
from training.kit import golden, provenance
from training.kit.config import config_dict
from training.kit.data import DataError
from training.kit.repository import publish, staging
from training.kit.run import Run
from training.nets.vgg19 import vgg19_file, vgg19_source
from training.recipes.cyclegan import card, graph
from training.recipes.cyclegan.config import Config
from training.recipes.cyclegan.data import Domains, load
from training.recipes.cyclegan.figures import directions
from training.recipes.cyclegan.state import load_generators
from training.recipes.cyclegan.synthetic import blob

VERSION = "1"
PROCESSOR = PhotographProcessor(max_side_px=1024, min_side_px=16)
GOLDEN_ATOL = 5e-3  # another processor sums in another order; a little more than a step of a pixel
GOLDEN_SIZE = (66, 85)  # height and width: no multiples of four


def main(run: Run[Config]) -> None:
    path = run.directory / "evaluation.json"
    if not path.is_file():
        raise DataError(f"{path} is missing: run `axon-train {run.recipe} evaluate` with this preset first")
    evaluation = json.loads(path.read_text())
    generators, progress = load_generators(run)
    folder = staging(run, run.config.name, VERSION)
    described = graph.write(run.config.name, generators, folder / "model.onnx")
    if described.sha256 != evaluation["graph_sha256"]:
        raise DataError(f"these weights are not those that were evaluated: run `axon-train {run.recipe} evaluate` again")
    write_manifest(run, folder, described, evaluation, progress)
    print(f"wrote {publish(folder, run.models)}")


def write_manifest(run: Run[Config], folder: Path, described: Graph, evaluation: dict[str, Any], progress: dict[str, Any]) -> None:
    domains, request = load(run), golden_request()
    inputs = {"pixel_values": PROCESSOR.preprocess(request)[None], "condition": graph.one_hot(1, 0)}
    trained = (progress["config"] or config_dict(run.config)) | {"peak": run.config.peak}  # the weights are cut by it after training
    about = card_of(run.config, domains, evaluation, progress["duration_s"], trained["crop_size"])
    ModelManifest(
        schema_version=1,
        name=run.config.name,
        version=VERSION,
        task="image-to-image",
        title=about.title,
        description=about.description,
        graphs={"model": described},
        processor=PROCESSOR,
        condition=condition(run.config),
        batching=Batching(max_batch_size=8),
        golden=golden.record(folder / described.file, request, inputs, GOLDEN_ATOL, suffix=".png"),
        metrics=tuple(Metric(**metric) for metric in evaluation["metrics"]),
        measurements={name: evaluation[name] for name in ("pictures", "epoch")} | started_from(progress),
        provenance=provenance.describe(
            run,
            sources(run, domains),
            progress["trained_at"],
            progress["duration_s"],
            directories=run_folders(run, progress["started_from"], trained.get("start_from", "")),
            config=trained,
        ),
        license=about.license,
        intended_use=about.intended_use,
        limitations=about.limitations,
    ).save(folder)


def started_from(progress: dict[str, Any]) -> dict[str, Any]:
    """The epochs and the config of the run that `start_from` names, and of what that one started from; nothing for a run from scratch."""
    return {"started_from": progress["started_from"]} if progress["started_from"] else {}


def run_folders(run: Run[Config], started: dict[str, Any] | None, start_from: str = "") -> list[Path]:
    """This run's, and those of the runs that it started from, as far as they are there; `start_from` as its checkpoint has it."""
    folders, name = [run.directory], run.config.start_from or start_from
    while started is not None and (folders[-1] / name).is_dir():
        folders.append(folders[-1] / name)
        name, started = (started["config"] or {}).get("start_from", ""), started["started_from"]
    return folders


def condition(config: Config) -> Condition:
    """The directions that a client chooses from; the order is that of the columns."""
    forth, back = directions(config)
    a, b = config.name_a, config.name_b
    choices = (Choice(name=forth, title=f"{a} to {b}"), Choice(name=back, title=f"{b} to {a}"))
    return Condition(option="direction", choices=choices, default=forth, mixable=False)


def golden_request() -> bytes:
    """A drawn blob as PNG, nobody's photograph; its sides are no multiples of four."""
    file = io.BytesIO()
    Image.fromarray(blob(np.random.default_rng(0), False, *GOLDEN_SIZE)).save(file, "PNG", optimize=True)
    return file.getvalue()


def sources(run: Run[Config], domains: Domains) -> tuple[DataSource, ...]:
    """One where both domains come from one file, else both; and VGG19 where the discriminators learnt through its layers."""
    described = dict.fromkeys(DataSource(**domain.source) for domain in (domains.a, domains.b))
    if not run.config.net.features or run.config.synthetic_pictures:
        return tuple(described)
    return (*described, vgg19_source(vgg19_file(run.config.vgg19, run.data_root)))


def card_of(config: Config, domains: Domains, evaluation: dict[str, Any], duration_s: float, crop_size: int) -> card.Card:
    if config.domain_a:
        return card.own(config.name_a, config.name_b)
    if domains.a.source["name"].startswith("synthetic"):
        return card.SYNTHETIC
    return card.horse2zebra(crop_size, evaluation, duration_s)
