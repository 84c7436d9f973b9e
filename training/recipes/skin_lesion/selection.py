"""Which weights ship: the average of the epochs that do best together on validation lesions.

Averages of the best n epochs of one run, for a few n, as in stochastic weight averaging (Izmailov et al. 2018,
arXiv:1803.05407) and model soups (Wortsman et al. 2022, arXiv:2203.05482). One network comes out, as quick as any of
its parts. Its biases are then shifted towards rare classes as far as validation lesions gain by it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.kit import checkpoint
from training.kit.config import config_dict
from training.kit.data import DataError
from training.kit.run import Run
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.data import LABELS, SkinLesions
from training.recipes.skin_lesion.model import SkinLesionNet
from training.recipes.skin_lesion.train import build, measure, predict, score

Weights = dict[str, Tensor]


def choose_weights(run: Run[Config], lesions: SkinLesions) -> dict[str, Any]:
    """Try the averages, and write what was chosen to `chosen.pt`: model, epochs, figures on validation."""
    states = [checkpoint.load(path) for path in sorted((run.directory / "epochs").glob("*.pt"))]
    ranked = sorted((state for state in states if state), key=lambda state: -state["measured"]["score"])
    if not ranked:
        raise DataError(f"{run.directory} holds no trained epoch; run `axon-train {run.recipe} train` first")
    network, best, members = build(run.config), -math.inf, ranked[:1]
    for size in run.config.soup_sizes:
        network.load_state_dict(average([state["model"] for state in ranked[:size]]))
        together = measure(network, lesions, "validation", run.config) if size > 1 else ranked[0]["measured"]
        print(f"average of the best {size}: " + "  ".join(f"{name} {value:.4f}" for name, value in together.items()), flush=True)
        if together["score"] > best:
            best, members = together["score"], ranked[:size]
    network.load_state_dict(average([member["model"] for member in members]))
    shift, measured = shift_prior(network, lesions, run.config)
    chosen = {
        "model": network.state_dict(),
        "prior_shift": shift,
        "epochs": sorted(member["epoch"] for member in members),
        "measured": measured,
        "duration_s": max(state["duration_s"] for state in states if state),
        "config": config_dict(run.config),
    }
    checkpoint.save(chosen_path(run), chosen)
    return chosen


@torch.no_grad()
def shift_prior(network: SkinLesionNet, lesions: SkinLesions, config: Config) -> tuple[float, dict[str, float]]:
    """Move the answers towards rare classes, by as much as scores best on validation: (strength, figures).

    Logit adjustment (Menon et al. 2021, arXiv:2007.07314): strength times the log of each class's share of the training
    images is taken from its bias. Recall of rare classes rises, and that of nevi falls a little.
    """
    shares = np.bincount(lesions.labels[lesions.splits["train"]], minlength=len(LABELS)) / len(lesions.splits["train"])
    log_prior = torch.from_numpy(np.log(np.maximum(shares, 1e-6))).float()
    rows = lesions.splits["validation"]
    logits = torch.from_numpy(predict(network, lesions.pixels[config.image_size][rows]))
    figures = {strength: score(logits - strength * log_prior, lesions.labels[rows]) for strength in config.prior_shifts}
    best = max(figures, key=lambda strength: figures[strength]["score"])
    network.classifier.bias -= best * log_prior
    return best, figures[best]


def average(weights: list[Weights]) -> Weights:
    """The mean of each tensor; counters are taken from the first."""
    return {
        name: torch.stack([part[name] for part in weights]).mean(0) if first.is_floating_point() else first
        for name, first in weights[0].items()
    }


def chosen_path(run: Run[Config]) -> Path:
    return run.directory / "chosen.pt"


def load_chosen(run: Run[Config]) -> tuple[SkinLesionNet, dict[str, Any]]:
    """The chosen network, ready to answer, and what is known of it."""
    chosen = checkpoint.load(chosen_path(run))
    if chosen is None:
        raise DataError(f"{run.directory} holds no chosen weights; run `axon-train {run.recipe} evaluate` first")
    network = build(run.config)
    network.load_state_dict(chosen["model"])
    return network.eval(), chosen
