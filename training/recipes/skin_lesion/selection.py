"""Which weights ship: the average of the epochs that do best together on validation lesions.

Averages of the best n epochs, for a few n, as in stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407).
One network comes out, as quick as any of its parts. Its biases are then shifted a little towards rare classes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.kit import checkpoint
from training.kit.data import DataError
from training.kit.half import rounded
from training.kit.run import Run
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.data import LABELS, SkinLesions
from training.recipes.skin_lesion.epochs import average_best, ranked_epochs
from training.recipes.skin_lesion.model import SkinLesionNet, build
from training.recipes.skin_lesion.train import measure, predict, score

NOISE = 0.005  # of the score on some 1,300 validation images, about half a standard error


def choose_weights(run: Run[Config], lesions: SkinLesions) -> dict[str, Any]:
    """Try the averages, and write what was chosen to `chosen.pt`: model, epochs, figures on validation.

    The model is as it will be served: normalisation folded, weights that float16 holds.
    """
    epochs = ranked_epochs(run.directory, run.recipe)
    network, best, chosen_size = build(run.config), -math.inf, 1
    for size in run.config.soup_sizes:
        network.load_state_dict(average_best(epochs, size))
        together = measure(network, lesions, "validation", run.config)
        print(f"average of the best {size}: " + "  ".join(f"{name} {value:.4f}" for name, value in together.items()), flush=True)
        if together["score"] > best:
            best, chosen_size = together["score"], size
    network.load_state_dict(average_best(epochs, chosen_size))
    shift = shift_prior(network.fold(), lesions, run.config)
    rounded(network)
    chosen = {
        "model": network.state_dict(),
        "prior_shift": shift,
        "averaged_epochs": sorted(state["epoch"] for state in epochs[:chosen_size]),
        "measured": measure(network, lesions, "validation", run.config),
        "duration_s": max(state["duration_s"] for state in epochs),
    }
    checkpoint.save(chosen_path(run), chosen)
    return chosen


@torch.no_grad()
def shift_prior(network: SkinLesionNet, lesions: SkinLesions, config: Config) -> float:
    """Move the answers towards rare classes as far as validation clearly gains by it, and tell how far that is.

    Logit adjustment (Menon et al. 2021, arXiv:2007.07314): strength times the log of each class's share of the training
    images is taken from its bias. Recall of rare classes rises, calibration suffers, so the least strength within NOISE
    of the best score is taken.
    """
    shares = np.bincount(lesions.labels[lesions.splits["train"]], minlength=len(LABELS)) / len(lesions.splits["train"])
    log_prior = torch.from_numpy(np.log(np.maximum(shares, 1e-6))).float()
    rows = lesions.splits["validation"]
    logits = torch.from_numpy(predict(network, lesions.pixels[config.image_size][rows]))
    figures = {strength: score(logits - strength * log_prior, lesions.labels[rows]) for strength in config.prior_shifts}
    good_enough = max(measured["score"] for measured in figures.values()) - NOISE
    best = min(strength for strength, measured in figures.items() if measured["score"] >= good_enough)
    network.classifier.bias -= best * log_prior
    return best


def chosen_path(run: Run[Config]) -> Path:
    return run.directory / "chosen.pt"


def load_chosen(run: Run[Config]) -> tuple[SkinLesionNet, dict[str, Any]]:
    """The chosen network, ready to answer, and what is known of it."""
    chosen = checkpoint.load(chosen_path(run))
    if chosen is None:
        raise DataError(f"{run.directory} holds no chosen weights; run `axon-train {run.recipe} evaluate` first")
    network = build(run.config).fold()
    network.load_state_dict(chosen["model"])
    return network.eval(), chosen
