"""Logits to calibrated probabilities, and probabilities to a decision with its measured error rates."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.contract.fields import Line
from app.errors import InvalidOption

Floats = NDArray[np.floating]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Estimate(_Frozen):
    """A measured figure with its 95 % confidence interval."""

    value: float
    ci95: tuple[float, float]


class OperatingPoint(_Frozen):
    """A threshold chosen on validation data, with what it does on the test split: positive means probability >= threshold."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    threshold: float = Field(ge=0, le=1)
    sensitivity: Estimate
    specificity: Estimate


class RocCurve(_Frozen):
    """Sensitivity and specificity over the threshold, thresholds rising, with 95 % intervals where they were measured."""

    split: str  # "test"
    n_positive: int = Field(ge=1)
    n_negative: int = Field(ge=1)
    auroc: Estimate
    threshold: tuple[float, ...]
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]
    sensitivity_ci95: tuple[tuple[float, float], ...]
    specificity_ci95: tuple[tuple[float, float], ...]

    @model_validator(mode="after")
    def _arrays_agree(self) -> Self:
        arrays = (self.sensitivity, self.specificity, self.sensitivity_ci95, self.specificity_ci95)
        if len(self.threshold) < 2 or any(len(array) != len(self.threshold) for array in arrays):
            raise ValueError("a ROC curve needs two thresholds or more, and every array as long as the thresholds")
        if any(b <= a for a, b in zip(self.threshold, self.threshold[1:], strict=False)):
            raise ValueError("the thresholds of a ROC curve must rise")
        return self

    def at(self, threshold: float) -> tuple[Estimate, Estimate]:
        """(sensitivity, specificity) at a threshold, interpolated between the curve's points."""
        return (
            self._interpolate(threshold, self.sensitivity, self.sensitivity_ci95),
            self._interpolate(threshold, self.specificity, self.specificity_ci95),
        )

    def _interpolate(self, threshold: float, values: tuple[float, ...], ci95: tuple[tuple[float, float], ...]) -> Estimate:
        value, low, high = (
            float(np.interp(threshold, self.threshold, column)) for column in (values, [low for low, _ in ci95], [high for _, high in ci95])
        )
        return Estimate(value=value, ci95=(low, high))


class SensitivityTable(_Frozen):
    """The sensitivity that each threshold may promise, by validation data, thresholds rising: what `min_sensitivity` chooses from."""

    threshold: tuple[float, ...] = Field(min_length=1)
    sensitivity: tuple[float, ...]

    @model_validator(mode="after")
    def _arrays_agree(self) -> Self:
        if len(self.sensitivity) != len(self.threshold):
            raise ValueError("threshold and sensitivity must have the same length")
        return self

    def highest_threshold(self, min_sensitivity: float) -> float:
        """The highest threshold that may promise `min_sensitivity`; 0 (all positive) if none may."""
        reaching = [t for t, s in zip(self.threshold, self.sensitivity, strict=True) if s >= min_sensitivity]
        return max(reaching, default=0.0)


class Scores(_Frozen):
    """Every probability that the test split got, rising: with them each threshold has its measured rates."""

    positive: tuple[float, ...] = Field(min_length=1)
    negative: tuple[float, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if any(list(side) != sorted(side) for side in (self.positive, self.negative)):
            raise ValueError("scores must rise")
        return self

    def rates(self, threshold: float) -> tuple[float, float]:
        """(sensitivity, specificity) when positive means at the threshold or above."""
        missed, passed = bisect_left(self.positive, threshold), bisect_left(self.negative, threshold)
        return 1 - missed / len(self.positive), passed / len(self.negative)


class Measurement(_Frozen):
    """How often a probability is on the right side of a threshold, on the test split."""

    measured_on: str  # "test split, 1,270 images of 950 lesions"
    roc: RocCurve
    scores: Scores | None = None  # without them rates are interpolated between the curve's points

    def at(self, threshold: float) -> tuple[Estimate, Estimate]:
        """(sensitivity, specificity) at a threshold; the intervals are interpolated between the curve's points."""
        if self.scores is None:
            return self.roc.at(threshold)
        inner = [point for point in self.roc.threshold if 0 < point < 1]
        beside = min(max(threshold, inner[0]), inner[-1]) if inner and 0 < threshold < 1 else threshold  # 0 and 1 are so by definition
        sensitivity, specificity = map(_around, self.scores.rates(threshold), self.roc.at(beside))
        return sensitivity, specificity


def _around(value: float, estimate: Estimate) -> Estimate:
    low, high = estimate.ci95
    value = round(value, 4)
    return Estimate(value=value, ci95=(min(low, value), max(high, value)))


class Target(Measurement):
    """A yes-or-no question about the labels: positive when the summed probability of `labels` reaches a threshold."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    title: Line
    labels: tuple[str, ...] = Field(min_length=1)
    selection: SensitivityTable  # measured on the validation split
    operating_points: tuple[OperatingPoint, ...] = Field(min_length=1)
    default_operating_point: str
    augmented: Measurement | None = None  # of the mean over a picture's eight views

    @model_validator(mode="after")
    def _default_exists(self) -> Self:
        if self.default_operating_point not in [point.name for point in self.operating_points]:
            raise ValueError(f"default_operating_point {self.default_operating_point!r} is not among the operating points")
        return self

    def operating_point(self, name: str) -> OperatingPoint:
        """Raises InvalidOption, naming those that exist."""
        for point in self.operating_points:
            if point.name == name:
                return point
        names = ", ".join(point.name for point in self.operating_points)
        raise InvalidOption(f"there is no operating point {name[:64]!r}; available: {names}", param="operating_point")


@dataclass(frozen=True)
class Decision:
    """Positive or not, at which threshold, and how often that threshold was right on the test split."""

    probability: float
    threshold: float
    operating_point: str | None
    positive: bool
    measured_on: str | None
    sensitivity: Estimate | None
    specificity: Estimate | None


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Calibrated probabilities over the last axis (Guo et al. 2017: one temperature for all classes)."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def threshold_for_cost(false_negative_cost: float) -> float:
    """The Bayes threshold for calibrated probabilities, when a miss costs `false_negative_cost` false alarms (Elkan 2001)."""
    return 1.0 / (1.0 + false_negative_cost)


def decide(
    target: Target,
    probability: float,
    *,
    operating_point: str | None = None,
    threshold: float | None = None,
    min_sensitivity: float | None = None,
    false_negative_cost: float | None = None,
    augmented: bool = False,
) -> Decision:
    """Apply one rule, at most; without any the target's default operating point. Raises InvalidOption.

    The rates are those of a probability as this one came about: `augmented` from eight views, or from one. None: not measured.
    """
    rules = {
        "operating_point": operating_point,
        "threshold": threshold,
        "min_sensitivity": min_sensitivity,
        "false_negative_cost": false_negative_cost,
    }
    given = [name for name, rule in rules.items() if rule is not None]
    if len(given) > 1:
        raise InvalidOption(f"give one of {', '.join(rules)}, not several", param=given[1])
    if min_sensitivity is not None:
        threshold = target.selection.highest_threshold(min_sensitivity)
    elif false_negative_cost is not None:
        threshold = threshold_for_cost(false_negative_cost)
    point = None
    if threshold is None:
        point = target.operating_point(target.default_operating_point if operating_point is None else operating_point)
        threshold = point.threshold
    measurement = target.augmented if augmented else target
    rates: tuple[Estimate | None, Estimate | None] = (None, None)
    if point is not None and not augmented:
        rates = point.sensitivity, point.specificity
    elif measurement is not None:
        rates = measurement.at(threshold)
    name = None if point is None else point.name
    measured_on = None if measurement is None else measurement.measured_on
    return Decision(probability, threshold, name, probability >= threshold, measured_on, *rates)
