import numpy as np
import pytest
from sklearn.metrics import log_loss

from app.contract.classification import softmax
from training.kit.calibration import expected_calibration_error, fit_temperature, negative_log_likelihood, reliability


@pytest.fixture
def calibrated() -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the true distribution of the labels."""
    generator = np.random.default_rng(0)
    logits = generator.normal(scale=2, size=(20_000, 3))
    cumulative = softmax(logits).cumsum(1)
    return logits, (generator.random((20_000, 1)) > cumulative).sum(1)


def test_calibrated_logits_need_no_temperature(calibrated: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = calibrated
    assert fit_temperature(logits, labels) == pytest.approx(1, abs=0.03)


def test_logits_three_times_too_sure_get_temperature_three(calibrated: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = calibrated
    assert fit_temperature(3 * logits, labels) == pytest.approx(3, abs=0.1)


def test_likelihood_agrees_with_scikit_learn(calibrated: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = calibrated
    assert negative_log_likelihood(softmax(logits), labels) == pytest.approx(log_loss(labels, softmax(logits)))


def test_true_probabilities_have_almost_no_calibration_error(calibrated: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = calibrated
    assert expected_calibration_error(softmax(logits), labels) < 0.015
    assert expected_calibration_error(softmax(3 * logits), labels) > 0.05


def test_an_error_known_by_construction() -> None:
    probabilities = np.array([[0.9, 0.1]] * 10)
    labels = np.array([0] * 6 + [1] * 4)  # says 90 %, is right 60 % of the time
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.3)


def test_reliability_groups_by_confidence_and_leaves_empty_bins_out() -> None:
    probabilities = np.array([[0.55, 0.45], [0.58, 0.42], [0.0, 1.0]])
    groups = reliability(probabilities, np.array([0, 1, 1]), bins=10)
    assert groups.count.tolist() == [2, 1]
    assert groups.confidence.tolist() == pytest.approx([0.565, 1.0])
    assert groups.accuracy.tolist() == pytest.approx([0.5, 1.0])
