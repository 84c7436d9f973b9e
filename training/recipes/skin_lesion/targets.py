"""The yes-or-no questions, and the thresholds at which they are answered.

Thresholds are chosen on validation lesions and measured on test lesions. `sensitivity-89` is the highest threshold that
may promise 89 % for unseen lesions, with a confidence of 95 % (`promised_sensitivities`, by the number of lesions): it
catches some more than 89 % of the validation positives. 82 % and 89 % are the sensitivities of the dermatologist
challenge, 95 % is for screening.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.contract.classification import Estimate, Measurement, OperatingPoint, RocCurve, Scores, SensitivityTable, Target
from training.kit.roc import GroupBootstrap, Interval, curve_thresholds, promised_sensitivities, rates, youden_threshold
from training.recipes.skin_lesion.data import LABELS

Floats = NDArray[np.floating]
PROMISES = {"sensitivity-82": 0.82, "sensitivity-89": 0.89, "sensitivity-95": 0.95}
DEFAULT_POINT = "sensitivity-95"


@dataclass(frozen=True)
class Question:
    """Positive when one of these diagnoses is the true one; the score is their summed probability."""

    name: str
    title: str
    labels: tuple[str, ...]

    def positive(self, labels: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(labels, self._columns())

    def score(self, probabilities: Floats) -> Floats:
        return np.asarray(probabilities[:, self._columns()].sum(1))

    def _columns(self) -> list[int]:
        return [LABELS.index(label) for label in self.labels]


QUESTIONS = (
    Question("melanoma", "Melanoma", ("mel",)),
    Question("keratosis", "Benign keratosis (seborrheic keratosis and its kin)", ("bkl",)),
    Question("malignant", "Malignant or pre-malignant: melanoma, basal cell carcinoma, actinic keratosis", ("akiec", "bcc", "mel")),
)


@dataclass(frozen=True)
class Scored:
    """A split's calibrated probabilities (N, K) and its true labels (N,)."""

    probabilities: Floats
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Unseen:
    """The test split: probabilities of one view and of the mean of eight, and what draws its lesions."""

    one_view: Scored
    eight_views: Scored | None
    bootstrap: GroupBootstrap
    name: str  # "test split, 1,338 images of 982 lesions"


def build_target(question: Question, validation: Scored, validation_lesions: Sequence[str], test: Unseen) -> Target:
    """Thresholds from validation, everything else from test."""
    chosen_from, positive = question.score(validation.probabilities), question.positive(validation.labels)
    thresholds, sensitivities = promised_sensitivities(chosen_from[positive], np.asarray(validation_lesions)[positive].tolist())
    selection = SensitivityTable(threshold=six_digits(thresholds), sensitivity=six_digits(sensitivities))
    (youden,) = six_digits(np.array([youden_threshold(chosen_from, positive)]))
    chosen = {"youden": youden} | {name: selection.highest_threshold(promise) for name, promise in PROMISES.items()}
    one_view, eight_views = (
        scored and measure(question, scored, test.bootstrap, list(chosen.values()), test.name + note)
        for scored, note in ((test.one_view, ""), (test.eight_views, ", each the mean of eight views"))
    )
    return Target(
        **dict(one_view),
        name=question.name,
        title=question.title,
        labels=question.labels,
        selection=selection,
        operating_points=tuple(_point(name, threshold, one_view) for name, threshold in chosen.items()),
        default_operating_point=DEFAULT_POINT,
        augmented=eight_views,
    )


def measure(question: Question, test: Scored, bootstrap: GroupBootstrap, thresholds: list[float], name: str) -> Measurement:
    """The curve, which goes through the given thresholds, and the scores behind it."""
    scores, positive = question.score(test.probabilities), question.positive(test.labels)
    thresholds_of_curve = np.unique([*curve_thresholds(scores, positive), *thresholds])
    sensitivity, specificity = rates(scores, positive, thresholds_of_curve)
    sensitivity_band, specificity_band = bootstrap.rate_bands(scores, positive, thresholds_of_curve)
    curve = RocCurve(
        split="test",
        n_positive=int(positive.sum()),
        n_negative=int((~positive).sum()),
        auroc=estimate(bootstrap.auroc(scores, positive)),
        threshold=six_digits(thresholds_of_curve),
        sensitivity=six_digits(sensitivity),
        specificity=six_digits(specificity),
        sensitivity_ci95=tuple((low, high) for low, high in sensitivity_band.round(4).tolist()),
        specificity_ci95=tuple((low, high) for low, high in specificity_band.round(4).tolist()),
    )
    behind = Scores(positive=six_digits(np.sort(scores[positive])), negative=six_digits(np.sort(scores[~positive])))
    return Measurement(measured_on=name, roc=curve, scores=behind)


def _point(name: str, threshold: float, measurement: Measurement) -> OperatingPoint:
    sensitivity, specificity = measurement.at(threshold)
    return OperatingPoint(name=name, threshold=threshold, sensitivity=sensitivity, specificity=specificity)


def estimate(interval: Interval) -> Estimate:
    return Estimate(value=round(interval.value, 4), ci95=(round(interval.low, 4), round(interval.high, 4)))


def six_digits(values: Floats) -> tuple[float, ...]:
    """Six digits: thresholds stay apart and the file stays small. Rounded down, so that no positive falls below its own threshold."""
    near = np.round(values, 6)
    return tuple(np.where(near > values, np.round(near - 1e-6, 6), near).tolist())
