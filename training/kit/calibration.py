"""Do probabilities mean what they say? One temperature (Guo et al. 2017, arXiv:1706.04599), and how far off the result is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from app.contract.classification import softmax

Floats = NDArray[np.floating]
Labels = NDArray[np.int64]

LOG_TEMPERATURE_BOUNDS = (-3.0, 3.0)  # 0.05 to 20


@dataclass(frozen=True)
class Reliability:
    """Predictions grouped by confidence; empty bins are left out."""

    confidence: Floats  # mean probability of the predicted class in each bin
    accuracy: Floats  # share of the bin that was right
    count: NDArray[np.int64]


def fit_temperature(logits: Floats, labels: Labels) -> float:
    """The temperature with the least negative log-likelihood on these rows, (N, K) and (N,)."""
    found = minimize_scalar(
        lambda log_temperature: negative_log_likelihood(softmax(logits, float(np.exp(log_temperature))), labels),
        bounds=LOG_TEMPERATURE_BOUNDS,
        method="bounded",
        options={"xatol": 1e-5},
    )
    return float(np.exp(found.x))


def negative_log_likelihood(probabilities: Floats, labels: Labels) -> float:
    """Mean over the rows, in nats."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def reliability(probabilities: Floats, labels: Labels, bins: int = 15) -> Reliability:
    """Equal-width bins over the predicted class's probability."""
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = count > 0
    return Reliability(
        confidence=np.bincount(place, confidence, bins)[filled] / count[filled],
        accuracy=np.bincount(place, correct, bins)[filled] / count[filled],
        count=count[filled],
    )


def expected_calibration_error(probabilities: Floats, labels: Labels, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted by their size (Naeini et al. 2015)."""
    groups = reliability(probabilities, labels, bins)
    return float(np.abs(groups.confidence - groups.accuracy) @ groups.count / len(labels))
