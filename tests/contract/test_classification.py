"""Logits to probabilities, probabilities to a decision, and the error rates that go with it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from app.contract.classification import Estimate, OperatingPoint, RocCurve, Target, decide, softmax, threshold_for_cost
from app.errors import InvalidOption
from tests.model_repository import target


@pytest.fixture
def reddish() -> Target:
    return Target.model_validate(target("reddish", ["red"]))


def test_softmax_is_the_textbooks() -> None:
    assert softmax(np.array([0.0, math.log(3)])) == pytest.approx([0.25, 0.75])
    assert softmax(np.array([[1.0, 1.0], [0.0, math.log(9)]])) == pytest.approx(np.array([[0.5, 0.5], [0.1, 0.9]]))


def test_softmax_bears_logits_of_any_size() -> None:
    assert softmax(np.array([1e4, 0.0, -1e4])).tolist() == [1.0, 0.0, 0.0]
    assert softmax(np.array([-1e30, -1e30], dtype=np.float32)).tolist() == [0.5, 0.5]


def test_temperature_divides_the_logits() -> None:
    assert softmax(np.array([0.0, 2 * math.log(3)]), temperature=2) == pytest.approx([0.25, 0.75])


@pytest.mark.parametrize(("cost", "threshold"), [(1, 0.5), (3, 0.25), (19, 0.05)])
def test_the_costlier_a_miss_the_lower_the_threshold(cost: float, threshold: float) -> None:
    assert threshold_for_cost(cost) == pytest.approx(threshold)


def test_without_a_rule_the_default_operating_point_decides(reddish: Target) -> None:
    decision = decide(reddish, 0.6)
    assert (decision.threshold, decision.operating_point, decision.positive) == (0.5, "balanced", True)
    assert decision.sensitivity.value == 0.5


def test_a_named_operating_point_brings_its_own_measurements(reddish: Target) -> None:
    decision = decide(reddish, 0.06, operating_point="sensitivity-95")
    assert (decision.threshold, decision.positive, decision.sensitivity.value) == (0.05, True, 0.95)


def test_positive_means_at_the_threshold_or_above(reddish: Target) -> None:
    assert decide(reddish, 0.3, threshold=0.3).positive
    assert not decide(reddish, np.nextafter(0.3, 0), threshold=0.3).positive
    assert decide(reddish, 0.5).positive
    assert not decide(reddish, np.nextafter(0.5, 0)).positive


def test_threshold_0_is_always_positive_and_1_only_when_certain(reddish: Target) -> None:
    assert decide(reddish, 0.0, threshold=0.0).positive
    assert not decide(reddish, 0.999, threshold=1.0).positive


@pytest.mark.parametrize(("wanted", "threshold"), [(0.0, 0.6), (0.5, 0.6), (0.51, 0.3), (0.9, 0.3), (0.95, 0.1), (0.995, 0.0), (1.0, 0.0)])
def test_min_sensitivity_takes_the_highest_threshold_that_reached_it_on_validation(
    reddish: Target, wanted: float, threshold: float
) -> None:
    decision = decide(reddish, 0.5, min_sensitivity=wanted)
    assert (decision.threshold, decision.operating_point) == (threshold, None)


def test_false_negative_cost_takes_the_bayes_threshold(reddish: Target) -> None:
    assert decide(reddish, 0.5, false_negative_cost=3).threshold == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("threshold", "sensitivity", "specificity"), [(0.0, 1.0, 0.0), (0.25, 0.75, 0.4), (0.5, 0.5, 0.8), (0.75, 0.25, 0.9), (1.0, 0.0, 1.0)]
)
def test_error_rates_between_two_measured_thresholds_are_interpolated(
    reddish: Target, threshold: float, sensitivity: float, specificity: float
) -> None:
    decision = decide(reddish, 0.5, threshold=threshold)
    assert decision.sensitivity.value == pytest.approx(sensitivity)
    assert decision.specificity.value == pytest.approx(specificity)
    for estimate in (decision.sensitivity, decision.specificity):
        assert estimate.ci95[0] - 1e-9 <= estimate.value <= estimate.ci95[1] + 1e-9


def test_the_interval_is_interpolated_too(reddish: Target) -> None:
    assert decide(reddish, 0.5, threshold=0.25).sensitivity.ci95 == pytest.approx((0.7, 0.8))


@pytest.mark.parametrize("threshold", [1e-9, 0.1, 0.5])
def test_a_rate_of_one_keeps_the_interval_of_the_curve_however_low_the_threshold(threshold: float) -> None:
    """At threshold 0 all are positive by definition: that is no measurement, and narrows no interval beside it."""
    curve = target("x", ["red"]) | {"scores": {"positive": [0.6, 0.7], "negative": [0.55, 0.7]}}
    sensitivity, specificity = Target.model_validate(curve).at(threshold)
    assert (sensitivity.value, sensitivity.ci95) == (1.0, (0.4, 1.0))
    assert (specificity.value, specificity.ci95) == (0.0, (0.0, 0.9))
    assert Target.model_validate(curve).at(0.0)[0].ci95 == (1.0, 1.0)


def test_a_threshold_outside_the_measured_ones_takes_the_nearest() -> None:
    curve = RocCurve.model_validate(target("x", ["red"])["roc"] | {"threshold": [0.2, 0.5, 0.8]})
    assert (curve.at(0.0)[0].value, curve.at(1.0)[0].value) == (1.0, 0.0)


RULES: list[dict[str, Any]] = [{"operating_point": "balanced"}, {"threshold": 0.0}, {"min_sensitivity": 0.0}, {"false_negative_cost": 1.0}]


@pytest.mark.parametrize("one", range(4))
@pytest.mark.parametrize("other", range(4))
def test_two_rules_at_once_are_refused(reddish: Target, one: int, other: int) -> None:
    if one == other:
        decide(reddish, 0.5, **RULES[one])
        return
    with pytest.raises(InvalidOption, match="give one of"):
        decide(reddish, 0.5, **RULES[one], **RULES[other])


def test_an_unknown_operating_point_names_those_that_exist(reddish: Target) -> None:
    with pytest.raises(InvalidOption, match="available: balanced, sensitivity-95") as caught:
        decide(reddish, 0.5, operating_point="x" * 1000)
    assert caught.value.param == "operating_point"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"threshold": [0.0, 0.5, 0.5]}, "must rise"),
        ({"threshold": [0.5, 0.0, 1.0]}, "must rise"),
        ({"threshold": [0.0, 1.0]}, "as long as the thresholds"),
        ({"sensitivity": [1.0, 0.5]}, "as long as the thresholds"),
        ({"specificity_ci95": []}, "as long as the thresholds"),
        (
            {"threshold": [0.5], "sensitivity": [1], "specificity": [1], "sensitivity_ci95": [[1, 1]], "specificity_ci95": [[1, 1]]},
            "two thresholds",
        ),
        ({"n_positive": 0}, "greater than or equal to 1"),
        ({"auroc": {"value": math.nan, "ci95": [0, 1]}}, "finite"),
        ({"extra": 1}, "Extra inputs"),
    ],
)
def test_a_curve_that_contradicts_itself_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        RocCurve.model_validate(target("x", ["red"])["roc"] | change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"default_operating_point": "absent"}, "'absent' is not among the operating points"),
        ({"operating_points": []}, "at least 1 item"),
        ({"labels": []}, "at least 1 item"),
        ({"name": "Not A Name"}, "pattern"),
        ({"selection": {"threshold": [0.1, 0.2], "sensitivity": [0.9]}}, "same length"),
        ({"selection": {"threshold": [], "sensitivity": []}}, "at least 1 item"),
    ],
)
def test_a_target_that_contradicts_itself_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Target.model_validate(target("x", ["red"]) | change)


def test_estimates_are_frozen() -> None:
    estimate = Estimate(value=0.5, ci95=(0.4, 0.6))
    with pytest.raises(ValidationError, match="frozen"):
        estimate.value = 0.9
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        OperatingPoint(name="p", threshold=1.2, sensitivity=estimate, specificity=estimate)
