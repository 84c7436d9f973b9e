"""Write the network as ONNX, prove it at odd sizes, measure it once more as it will be served, and write the manifest."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from app.contract.conditions import Choice, Condition
from app.contract.manifest import Batching, DataSource, Golden, Graph, Metric, ModelManifest, Provenance
from training.kit import golden, origin, provenance
from training.kit.data import DataError
from training.kit.export import export, open_session, proved
from training.kit.half import store_half
from training.kit.repository import publish, staging
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.nets.vgg19 import vgg19_file, vgg19_source
from training.recipes.style_transfer import card, synthetic
from training.recipes.style_transfer.config import Config
from training.recipes.style_transfer.data import NEUTRAL, PROCESSOR, choice_name, painting_file, title_of
from training.recipes.style_transfer.evaluate import figures, measure, pictures_of
from training.recipes.style_transfer.losses import build_loss
from training.recipes.style_transfer.model import TransformNet
from training.recipes.style_transfer.served import ServedTransform, tensor_specs
from training.recipes.style_transfer.state import fingerprint, load_added, load_network, load_progress
from training.recipes.style_transfer.yardstick import read, test_images

VERSION = "1"
CASES = ((3, 64, 64), (1, 321, 257), (3, 257, 321), (1, 16, 16), (2, 17, 50))  # (B, H, W)
ATOL = 2e-4  # of a channel from 0 to 1, a twentieth of a step of its 255: normalisations sum in another order
YARDSTICK_TOLERANCE = 1e-3  # another processor's order
GOLDEN_ATOL = 2e-3  # another processor's order


def main(run: Run[Config]) -> None:
    path = run.directory / "evaluation.json"
    if not path.is_file():
        raise DataError(f"{path} is missing; run `axon-train {run.recipe} evaluate` first")
    evaluation = json.loads(path.read_text())
    network, paintings = load_network(run)
    if evaluation["weights"] != fingerprint(network):
        raise DataError(f"{path} is of other weights; run `axon-train {run.recipe} evaluate` again")
    folder = staging(run, run.recipe, VERSION)
    graph = write_graph(run, network, folder / "model.onnx")
    recorded = record_golden(folder / graph.file, len(paintings) + 1)
    served = measure_served(run, open_session(folder / graph.file), paintings)
    refuse_other_yardstick(run, evaluation, served)
    describe(run, evaluation, graph, recorded, describe_metrics(evaluation, served), paintings).save(folder)
    print(f"wrote {publish(folder, run.models)}")


def write_graph(run: Run[Config], network: TransformNet, path: Path) -> Graph:
    """Proved twice: as it is exported, and with its weights stored at half their size."""
    module, cases = ServedTransform(network).eval(), parity_cases(network.share.shape[0])
    inputs, outputs = tensor_specs(network.share.shape[0])
    export(run.recipe, module, path, inputs, outputs, cases, ATOL)
    store_half(path)
    return proved(run.recipe, module, path, inputs, outputs, cases, ATOL)


def parity_cases(choices: int) -> list[dict[str, NDArray[Any]]]:
    """Pictures of odd and even sizes, in single styles and in mixtures."""
    draw = np.random.default_rng(0)
    cases = []
    for batch, height, width in CASES:
        condition = draw.dirichlet(np.full(choices, 0.5), batch).astype(np.float32)
        condition[0] = np.eye(choices, dtype=np.float32)[draw.integers(choices)]
        cases.append({"pixel_values": picture(batch, height, width, draw), "condition": condition})
    return cases


def picture(batch: int, height: int, width: int, draw: np.random.Generator) -> NDArray[np.uint8]:
    """Drawn discs with a little noise, (B, 3, H, W)."""
    drawn = np.stack([synthetic.discs(draw, height, width) for _ in range(batch)]).transpose(0, 3, 1, 2)
    noisy = drawn + draw.normal(0, 8, drawn.shape)
    return np.ascontiguousarray(np.clip(noisy, 0, 255).astype(np.uint8))


def record_golden(graph: Path, choices: int) -> Golden:
    """A drawn picture in the first style, the default: nobody's photograph."""
    file = io.BytesIO()
    Image.fromarray(picture(1, 96, 112, np.random.default_rng(1))[0].transpose(1, 2, 0)).save(file, "PNG", optimize=True)
    inputs = {"pixel_values": PROCESSOR.preprocess(file.getvalue())[None], "condition": np.eye(choices, dtype=np.float32)[:1]}
    return golden.record(graph, file.getvalue(), inputs, GOLDEN_ATOL, suffix=".png")


def measure_served(run: Run[Config], session: onnxruntime.InferenceSession, paintings: list[str]) -> dict[str, Any]:
    """The figures of the exported file, from pixels of eight bits to pixels of eight bits, as a client gets them."""
    _, images = test_images(run)
    pixels = (images * 255).round().byte()  # (N, 3, H, W)
    condition = np.eye(len(paintings) + 1, dtype=np.float32)[:-1]  # (S, S + 1)
    answers = [
        session.run(None, {"pixel_values": row[None].repeat(len(condition), axis=0), "condition": condition})[0] for row in pixels.numpy()
    ]
    painted: Tensor = (torch.from_numpy(np.stack(answers)) * 255).round() / 255  # (N, S, 3, H, W)
    loss, config = build_loss(run, paintings), run.config
    theirs = {config.yardstick: measure(loss, pictures_of(read(run, paintings, config.yardstick)), images)}
    return figures(measure(loss, painted, images), theirs, config.gatys_steps)


def refuse_other_yardstick(run: Run[Config], evaluation: dict[str, Any], served: dict[str, Any]) -> None:
    """`export` reads the yardstick that `evaluate` measured; other settings give it another loss. Raises DataError."""
    name = f"gatys_{run.config.yardstick}_{run.config.gatys_steps}_total_loss"
    measured = evaluation["figures"].get(name, {}).get("value")
    if measured is None or abs(served[name]["value"] - measured) > YARDSTICK_TOLERANCE * measured:
        raise DataError(f"the yardstick is not the one that was evaluated; run `axon-train {run.recipe} evaluate` again")


def describe_metrics(evaluation: dict[str, Any], served: dict[str, Any]) -> tuple[Metric, ...]:
    """Every figure with how it was measured; the served ones first. What is of the yardstick alone is stated once."""
    photographs, styles = len(evaluation["photographs"]), len(evaluation["paintings"])
    ways = {
        "ONNX Runtime": {name: figure for name, figure in served.items() if not name.startswith("gatys")},
        "PyTorch": evaluation["figures"],
    }
    return tuple(
        Metric(
            name=name,
            **figure,
            n=photographs,
            data=evaluation["data"]["name"],
            split=f"test photographs, each in {styles} styles, squares of {evaluation['px']} px",
            note=way,
        )
        for way, found in ways.items()
        for name, figure in found.items()
    )


def data_sources(run: Run[Config], evaluation: dict[str, Any], paintings: list[str]) -> tuple[DataSource, ...]:
    """The photographs, every painting, and the network that the losses were measured with."""
    source, real = evaluation["data"], not run.config.synthetic
    drawn = "drawn by training/recipes/style_transfer/synthetic.py"
    photographs = DataSource(
        name=f"Photographs of ImageNet and BSDS500 ({source['name']})" if real else source["name"],
        source="ImageNet, one photograph a class, and BSDS500" if real else drawn,
        sha256=source["sha256"],
        licence="research use" if real else "MIT",
    )
    painted = [
        DataSource(
            name=title_of(painting).partition(",")[0],
            source=title_of(painting) if real else drawn,
            sha256=hashlib.sha256(painting_file(run, painting)).hexdigest(),
            licence="public domain" if real and painting in run.config.paintings else "MIT" if not real else "unknown",
        )
        for painting in paintings
    ]
    if not real:
        return (photographs, *painted)
    return (photographs, *painted, vgg19_source(vgg19_file(run.config.loss.vgg19, run.data_root)))


def provenance_of(run: Run[Config], data: tuple[DataSource, ...]) -> Provenance:
    """Commit and versions are those of the network's own training; machines and seconds those of the styles that were added, too."""
    progress, added = load_progress(run), load_added(run)
    rows = RunLog(run.directory, quiet=True).rows()
    own = progress.get("origin") or {"commit": "unknown", "versions": origin.versions(), **(rows[-1] if rows else {})}
    folders = [run.directory / "added" / choice_name(style["painting"]) for style in added]
    machines = dict.fromkeys([own.get("hardware", "unknown"), *map(provenance.trained_on, folders)])
    duration_s = progress["duration_s"] + sum(style["duration_s"] for style in added)
    row = own | {"hardware": "; ".join(machines)}
    return provenance.describe(run, data, progress["trained_at"], duration_s, config=progress.get("config"), row=row)


def describe(
    run: Run[Config], evaluation: dict[str, Any], graph: Graph, recorded: Golden, metrics: tuple[Metric, ...], paintings: list[str]
) -> ModelManifest:
    real = not run.config.synthetic
    choices = [Choice(name=choice_name(painting), title=title_of(painting)) for painting in paintings]
    return ModelManifest(
        schema_version=1,
        name=run.recipe,
        version=VERSION,
        task="image-to-image",
        title=card.title(paintings) if real else "Style transfer (synthetic data, for tests)",
        description=card.description(paintings) if real else "A tiny run on drawn discs, for tests. It has never seen a painting.",
        graphs={"model": graph},
        processor=PROCESSOR,
        condition=Condition(
            option="style",
            choices=(*choices, Choice(name=NEUTRAL, title="The photograph itself")),
            default=choices[0].name,
            mixable=True,
            neutral=NEUTRAL,
        ),
        batching=Batching(max_batch_size=8),
        golden=recorded,
        metrics=metrics,
        measurements={key: evaluation[key] for key in ("data", "photographs", "paintings", "equal_steps", "cost")},
        provenance=provenance_of(run, data_sources(run, evaluation, paintings)),
        license=card.LICENSE if real else card.SYNTHETIC_LICENSE,
        intended_use=card.INTENDED_USE if real else "Tests.",
        limitations=card.limitations(run.config, evaluation) if real else ("Synthetic data: the answers mean nothing.",),
    )
