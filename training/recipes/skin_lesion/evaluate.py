"""Choose weights, temperature and thresholds on validation lesions, then measure everything once on test lesions.

Writes evaluation.json, predictions.npz and plots/ into the run's folder.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from app.contract.classification import softmax
from app.contract.images import dihedral_views
from training.kit.calibration import fit_temperature
from training.kit.roc import GroupBootstrap
from training.kit.run import Run
from training.recipes.skin_lesion import plots
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.data import LABELS, SkinLesions, load
from training.recipes.skin_lesion.epochs import epoch_files
from training.recipes.skin_lesion.figures import check_sane, decision_curve, describe_classes, describe_subgroups, measure_figures
from training.recipes.skin_lesion.selection import choose_weights, describe_choice, load_chosen
from training.recipes.skin_lesion.targets import QUESTIONS, Scored, Unseen, build_target
from training.recipes.skin_lesion.train import predict

VIEWS = 8  # turns and flips of a square


def main(run: Run[Config]) -> None:
    for folder in run.config.members or (".",):
        epoch_files(run.directory / folder, run.recipe)  # said before the data set is prepared for nothing
    lesions = load(run)
    choose_weights(run, lesions)
    network, chosen = load_chosen(run)
    truth = {split: lesions.labels[lesions.splits[split]] for split in ("validation", "test")}
    counts = {"validation": 1, "test": VIEWS if run.config.compare_views else 1}
    logits = {split: predict_views(network, pixels_of(run, lesions, split), counts[split]) for split in truth}  # (views, N, K)
    np.savez_compressed(run.directory / "predictions.npz", **logits, **{f"{split}_labels": labels for split, labels in truth.items()})
    temperature = round(fit_temperature(logits["validation"][0], truth["validation"]), 4)  # as the manifest states it
    one_view = {split: Scored(softmax(logits[split][0], temperature), truth[split]) for split in truth}
    tested = [lesions.records[i] for i in lesions.splits["test"]]
    bootstrap = GroupBootstrap([record.lesion_id for record in tested])
    figures, averaged = {"one view": measure_figures(one_view["test"], bootstrap)}, None
    check_sane(figures["one view"])
    if run.config.compare_views:
        averaged = Scored(softmax(logits["test"], temperature).mean(0), truth["test"])
        figures["eight views"] = measure_figures(averaged, bootstrap)
    measured_on = f"test split, {len(tested):,} images of {len({record.lesion_id for record in tested}):,} lesions"
    split = Unseen(one_view["test"], averaged, bootstrap, measured_on)
    chosen_on = [lesions.records[i].lesion_id for i in lesions.splits["validation"]]
    targets = [build_target(question, one_view["validation"], chosen_on, split) for question in QUESTIONS]
    evaluation: dict[str, Any] = {
        "data": lesions.source | {"splits": count_splits(lesions)},
        "weights": describe_choice(chosen),
        "temperature": temperature,
        "figures": figures,
        **describe_classes(one_view["test"], bootstrap),
        "targets": [target.model_dump(mode="json") for target in targets],
        "subgroups": {
            target.name: describe_subgroups(
                question, target.operating_point(target.default_operating_point).threshold, one_view["test"], tested
            )
            for question, target in zip(QUESTIONS, targets, strict=True)
        },
        "decision_curves": {question.name: decision_curve(question, one_view["test"]) for question in QUESTIONS},
    }
    (run.directory / "evaluation.json").write_text(json.dumps(evaluation, indent=1) + "\n")
    plots.draw(run, evaluation, targets)
    for way, measured in figures.items():
        print(f"{way}: " + "  ".join(f"{name} {figure['value']:.4f}" for name, figure in measured.items()))


def pixels_of(run: Run[Config], lesions: SkinLesions, split: str) -> NDArray[np.uint8]:
    """A split's images as served, (N, 3, S, S)."""
    return np.asarray(lesions.pixels[run.config.image_size][lesions.splits[split]])


def predict_views(network: nn.Module, pixels: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    """Logits of each of the server's views, (views, N, K); the first is the image as it is."""
    turned = (np.stack([dihedral_views(image)[view] for image in pixels]) for view in range(count))
    return np.stack([predict(network, view) for view in turned])


def count_splits(lesions: SkinLesions) -> dict[str, Any]:
    """Images, lesions and diagnoses of each split."""
    described = {}
    for split, rows in lesions.splits.items():
        diagnoses = Counter(lesions.records[i].diagnosis for i in rows)
        described[split] = {
            "images": len(rows),
            "lesions": len({lesions.records[i].lesion_id for i in rows}),
            "diagnoses": {label: diagnoses[label] for label in LABELS},
        }
    return described
