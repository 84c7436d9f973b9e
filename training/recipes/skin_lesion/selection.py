"""Which weights ship: the average of the epochs that do best together on validation lesions, of one run or of several.

Averages of the best n epochs, for a few n, as in stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407): one
network comes out of a run. Several runs make an ensemble. Its biases are then shifted a little towards rare classes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.kit import checkpoint
from training.kit.calibration import fit_temperature
from training.kit.data import DataError
from training.kit.half import rounded
from training.kit.run import Run
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.data import LABELS, SkinLesions
from training.recipes.skin_lesion.ensemble import Ensemble, empty
from training.recipes.skin_lesion.epochs import average_best, config_of, ranked_epochs
from training.recipes.skin_lesion.model import SkinLesionNet, build
from training.recipes.skin_lesion.train import line, measure, predict, score

NOISE = 0.005  # of the score on the 883 validation images of what ships, less than half a standard error


def choose_weights(run: Run[Config], lesions: SkinLesions) -> None:
    """Write what is chosen to `chosen.pt`: model, variants, parts (of each run: epochs, time, config), figures on validation.

    The model is as it will be served: normalisation folded, weights that float16 holds.
    """
    folders = run.config.members or (".",)
    networks, parts = zip(*(best_average(run, folder, lesions) for folder in folders), strict=True)
    network = networks[0] if len(networks) == 1 else Ensemble(networks)
    shift = shift_prior(network, lesions, run.config)
    rounded(network)
    measured = measure(network, lesions, "validation", run.config)
    print(f"chosen, prior shift {shift}: {line(measured)}", flush=True)
    chosen = {
        "model": network.state_dict(),
        "variants": [network.variant for network in networks],
        "parts": list(parts),
        "prior_shift": shift,
        "measured": measured,
    }
    checkpoint.save(chosen_path(run), chosen)


def best_average(run: Run[Config], folder: str, lesions: SkinLesions) -> tuple[SkinLesionNet, dict[str, Any]]:
    """The average of a run's best epochs that does best on validation lesions, folded, and what is known of it.

    A member of an ensemble is calibrated first, so that none is heard more because it exaggerates.
    """
    directory = (run.directory / folder).resolve()
    epochs = ranked_epochs(directory, run.recipe)
    trained = config_of(epochs, run.config, directory)
    network, best, chosen_size = build(trained), -math.inf, 1
    for size in sorted({min(size, len(epochs)) for size in run.config.soup_sizes}):
        network.load_state_dict(average_best(epochs, size))
        together = measure(network, lesions, "validation", run.config)
        print(f"{directory.name}, average of the best {size}: {line(together)}", flush=True)
        if together["score"] > best:
            best, chosen_size = together["score"], size
    network.load_state_dict(average_best(epochs, chosen_size))
    network.fold()
    part = {
        "run": directory.name,
        "averaged_epochs": sorted(state["epoch"] for state in epochs[:chosen_size]),
        "duration_s": max(state["duration_s"] for state in epochs),
        "config": epochs[0]["config"],
    }
    if run.config.members:
        rows = lesions.splits["validation"]
        temperature = fit_temperature(predict(network, lesions.pixels[run.config.image_size][rows]), lesions.labels[rows])
        network.divide_logits(temperature)
        part["temperature"] = round(temperature, 4)
    return network, part


@torch.no_grad()
def shift_prior(network: SkinLesionNet | Ensemble, lesions: SkinLesions, config: Config) -> float:
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
    network.move_logits(-best * log_prior)
    return best


def describe_choice(chosen: dict[str, Any]) -> dict[str, Any]:
    """As plain JSON data, for the evaluation: by it `export` knows whether that is of these weights."""
    plain: dict[str, Any] = json.loads(
        json.dumps({"runs": chosen["parts"], "prior_shift": chosen["prior_shift"], "validation": chosen["measured"]})
    )
    return plain


def chosen_path(run: Run[Config]) -> Path:
    return run.directory / "chosen.pt"


def load_chosen(run: Run[Config]) -> tuple[SkinLesionNet | Ensemble, dict[str, Any]]:
    """The chosen network, ready to answer, and what is known of it."""
    chosen = checkpoint.load(chosen_path(run))
    if chosen is None:
        raise DataError(f"{run.directory} holds no chosen weights; run `axon-train {run.recipe} evaluate` first")
    network = empty(chosen["variants"])
    network.load_state_dict(chosen["model"])
    return network.eval(), chosen
