"""The figures of a set of probabilities on the test split, with intervals that draw whole lesions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from training.kit.calibration import expected_calibration_error, negative_log_likelihood, reliability
from training.kit.roc import GroupBootstrap, Interval
from training.kit.sanity import InsaneFigure
from training.recipes.skin_lesion.archive import Record
from training.recipes.skin_lesion.data import LABELS
from training.recipes.skin_lesion.targets import QUESTIONS, Question, Scored

PERFECT = 0.9995
AGE_BOUNDS = (0, 30, 45, 60, 75, 200)


def measure_figures(test: Scored, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """Name -> {value, ci95}; calibration figures carry no interval."""
    predicted = test.probabilities.argmax(1)
    figures = {
        f"{question.name}_auroc": described(bootstrap.auroc(question.score(test.probabilities), question.positive(test.labels)))
        for question in QUESTIONS
    }
    figures["macro_auroc"] = described(bootstrap.macro_auroc(test.probabilities, test.labels))
    figures["balanced_accuracy"] = described(bootstrap.balanced_accuracy(predicted, test.labels, len(LABELS)))
    figures["accuracy"] = described(bootstrap.accuracy(predicted == test.labels))
    figures["expected_calibration_error"] = {"value": round(expected_calibration_error(test.probabilities, test.labels), 4)}
    figures["negative_log_likelihood"] = {"value": round(negative_log_likelihood(test.probabilities, test.labels), 4)}
    return figures


def check_sane(figures: dict[str, Any]) -> None:
    """No better than a guess, or perfect: both mean a mistake in the data or in the code. Raises InsaneFigure."""
    macro, balanced = figures["macro_auroc"]["value"], figures["balanced_accuracy"]["value"]
    measured = f"macro AUROC {macro}, balanced accuracy {balanced}"
    if macro >= PERFECT or balanced >= PERFECT:
        raise InsaneFigure(f"{measured}: perfect, so test lesions probably leaked into training")
    if not (macro > 0.5 and balanced > 1 / len(LABELS)):  # so that NaN fails too
        raise InsaneFigure(f"{measured}: no better than a guess")


def describe_classes(test: Scored, bootstrap: GroupBootstrap) -> dict[str, Any]:
    """Recall of each class with its count, the confusion matrix (rows are true), and the reliability diagram."""
    predicted = test.probabilities.argmax(1)
    bins = reliability(test.probabilities, test.labels)
    return {
        "recall": {
            label: {**described(bootstrap.recall(predicted, test.labels, k)), "n": int((test.labels == k).sum())}
            for k, label in enumerate(LABELS)
        },
        "confusion": confusion_matrix(test.labels, predicted, labels=range(len(LABELS))).tolist(),
        "reliability": {
            "confidence": bins.confidence.round(4).tolist(),
            "accuracy": bins.accuracy.round(4).tolist(),
            "count": bins.count.tolist(),
        },
    }


def describe_subgroups(question: Question, threshold: float, test: Scored, records: list[Record]) -> dict[str, Any]:
    """Sensitivity and specificity of one answer by age group, sex and body site, with counts; None where there is nobody."""
    called = question.score(test.probabilities) >= threshold
    positive = question.positive(test.labels)
    ways: dict[str, Callable[[Record], str]] = {"age": age_group, "sex": lambda record: record.sex, "site": lambda record: record.site}
    return {way: _by_group(np.array([group(record) for record in records]), called, positive) for way, group in ways.items()}


def _by_group(groups: NDArray[np.str_], called: NDArray[np.bool_], positive: NDArray[np.bool_]) -> dict[str, Any]:
    result = {}
    for name in sorted(set(groups.tolist())):
        members = groups == name
        sick, well = members & positive, members & ~positive
        result[name] = {
            "n": int(members.sum()),
            "positives": int(sick.sum()),
            "sensitivity": round(float(called[sick].mean()), 4) if sick.any() else None,
            "specificity": round(float((~called[well]).mean()), 4) if well.any() else None,
        }
    return result


def age_group(record: Record) -> str:
    """`45-59`; `unknown` where no age was recorded."""
    if record.age is None:
        return "unknown"
    place = int(np.searchsorted(AGE_BOUNDS, record.age, side="right"))
    low, high = AGE_BOUNDS[place - 1], AGE_BOUNDS[place]
    return f"{low}+" if high == AGE_BOUNDS[-1] else f"{low}-{high - 1}"


def decision_curve(question: Question, test: Scored) -> dict[str, list[float]]:
    """Net benefit over the threshold probability (Vickers & Elkin 2006): true positives less false ones at the odds of the threshold."""
    thresholds = np.linspace(0.01, 0.6, 60)
    score, positive = question.score(test.probabilities), question.positive(test.labels)
    called = score[:, None] >= thresholds  # (N, T)
    odds = thresholds / (1 - thresholds)
    model = (called & positive[:, None]).mean(0) - (called & ~positive[:, None]).mean(0) * odds
    everyone = positive.mean() - (~positive).mean() * odds
    return {name: values.round(4).tolist() for name, values in (("threshold", thresholds), ("model", model), ("everyone", everyone))}


def described(interval: Interval) -> dict[str, Any]:
    return {"value": round(interval.value, 4), "ci95": [round(interval.low, 4), round(interval.high, 4)]}
