"""The pictures of the README: loss curves of both stages and the reliability diagram."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np

from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.sentiment.config import Config

matplotlib.use("Agg")
from matplotlib import pyplot


def draw(run: Run[Config], evaluation: dict[str, Any]) -> None:
    """Into the run's folder `plots/`."""
    folder = run.directory / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    RunLog(run.directory / "pretrain", quiet=True).plot(folder / "pretraining.png", ["language", "verdict"], "nats per word")
    RunLog(run.directory / "finetune", quiet=True).plot(folder / "finetuning.png", ["loss", "validation_loss"])
    bins = evaluation["reliability"]
    error = next(m["value"] for m in evaluation["metrics"] if (m["name"], m["note"]) == ("expected_calibration_error", "ONNX Runtime"))
    figure, axes = pyplot.subplots(figsize=(4.5, 4.5), layout="constrained")
    axes.plot([0.5, 1], [0.5, 1], color="grey", linewidth=1)
    axes.scatter(bins["confidence"], bins["accuracy"], s=np.sqrt(bins["count"]) * 4)
    axes.set(title=f"expected calibration error {error:.3f}", xlabel="probability of the answer", ylabel="share that was right")
    axes.grid(alpha=0.3)
    figure.savefig(folder / "reliability.png", dpi=100)
    pyplot.close(figure)
