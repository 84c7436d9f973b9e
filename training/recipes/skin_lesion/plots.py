"""The pictures of an evaluation: ROC with operating points, reliability, loss curves, confusion matrix, decision curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.contract.classification import Target
from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.data import LABELS

DPI = 90


def draw(run: Run[Config], evaluation: dict[str, Any], targets: list[Target]) -> None:
    """Write every plot into the run's plots/ folder."""
    folder = run.directory / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    draw_roc(folder / "roc.png", targets)
    draw_reliability(folder / "reliability.png", evaluation)
    draw_confusion(folder / "confusion.png", evaluation["confusion"])
    draw_decision_curves(folder / "decision_curve.png", evaluation["decision_curves"])
    for member in run.config.members or ("",):
        run_log, suffix = RunLog(run.directory / member, quiet=True), f"_{Path(member).name}" if member else ""
        run_log.plot(folder / f"loss{suffix}.png", ["train_loss", "validation_loss"])
        run_log.plot(
            folder / f"validation{suffix}.png", ["melanoma_auroc", "macro_auroc", "balanced_accuracy"], ylabel="on validation lesions"
        )


def draw_roc(path: Path, targets: list[Target]) -> None:
    figure, panels = pyplot.subplots(1, len(targets), figsize=(4 * len(targets), 4), layout="constrained", sharey=True)
    for axes, target in zip(panels, targets, strict=True):
        roc = target.roc
        false_positive, low = 1 - np.array(roc.specificity), np.array(roc.sensitivity_ci95)
        axes.fill_between(false_positive, low[:, 0], low[:, 1], alpha=0.2, step=None)
        axes.plot(false_positive, roc.sensitivity)
        for point in target.operating_points:
            axes.plot(1 - point.specificity.value, point.sensitivity.value, "o", label=f"{point.name} (threshold {point.threshold:.3f})")
        low_auroc, high_auroc = roc.auroc.ci95
        axes.set(title=f"{target.name}: AUROC {roc.auroc.value:.3f} ({low_auroc:.3f} to {high_auroc:.3f})", xlabel="1 - specificity")
        axes.legend(loc="lower right", fontsize=7)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("sensitivity")
    _save(figure, path)


def draw_reliability(path: Path, evaluation: dict[str, Any]) -> None:
    figure, axes = pyplot.subplots(figsize=(4.5, 4.5), layout="constrained")
    bins = evaluation["reliability"]
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.scatter(bins["confidence"], bins["accuracy"], s=np.sqrt(bins["count"]) * 8)
    error = evaluation["figures"]["one view"]["expected_calibration_error"]["value"]
    axes.set(title=f"expected calibration error {error:.3f}", xlabel="probability of the answer", ylabel="share that was right")
    axes.grid(alpha=0.3)
    _save(figure, path)


def draw_confusion(path: Path, confusion: list[list[int]]) -> None:
    figure, axes = pyplot.subplots(figsize=(5, 4.5), layout="constrained")
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(counts.shape):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(LABELS)), LABELS)
    axes.set_yticks(range(len(LABELS)), LABELS)
    axes.set(xlabel="answered", ylabel="true")
    _save(figure, path)


def draw_decision_curves(path: Path, curves: dict[str, dict[str, list[float]]]) -> None:
    figure, panels = pyplot.subplots(1, len(curves), figsize=(4 * len(curves), 3.5), layout="constrained")
    for axes, (name, curve) in zip(panels, curves.items(), strict=True):
        _draw_decision_curve(axes, name, curve)
    panels[0].set_ylabel("net benefit")
    _save(figure, path)


def _draw_decision_curve(axes: Axes, name: str, curve: dict[str, list[float]]) -> None:
    axes.plot(curve["threshold"], curve["model"], label="model")
    axes.plot(curve["threshold"], curve["everyone"], label="treat everyone")
    axes.axhline(0, color="grey", linewidth=1, label="treat no one")
    axes.set(title=name, xlabel="threshold probability", ylim=(-0.02, max(curve["model"]) * 1.1 + 0.01))
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)
