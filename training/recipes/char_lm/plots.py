"""The pictures of the README: loss over the epochs, and loss over the place in a window."""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray

from training.kit.run import Run
from training.kit.run_log import RunLog
from training.recipes.char_lm.config import Config

matplotlib.use("Agg")
from matplotlib import pyplot


def draw(run: Run[Config], window_nats: NDArray[np.floating], carried: float) -> None:
    """Into the run's folder `plots/`. `window_nats`: nats of each character of each window, (windows, block)."""
    folder = run.directory / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    RunLog(run.directory, quiet=True).plot(folder / "loss.png", ["train_loss", "validation_loss"], "nats per character")
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.plot(np.arange(1, window_nats.shape[1] + 1), window_nats.mean(axis=0), linewidth=1, label="window without a state before")
    axes.axhline(carried, color="grey", linewidth=1, label="state carried over the whole text")
    axes.set(xlabel="characters read", ylabel="nats of the next one", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(folder / "context.png", dpi=100)
    pyplot.close(figure)
