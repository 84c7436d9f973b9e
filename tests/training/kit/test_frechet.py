"""Distances between heaps of features, against those of distributions that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import sqrtm

from training.kit.frechet import distance_interval, frechet_distance, kernel_distance


def normal(count: int, mean: list[float], deviation: list[float], seed: int) -> np.ndarray:
    """Rows whose sample mean and sample covariance are exactly those asked for."""
    rows = np.random.default_rng(seed).normal(size=(count, len(mean)))
    rows -= rows.mean(0)
    rows = rows @ np.linalg.inv(np.linalg.cholesky(np.cov(rows.T))).T
    return np.array(mean) + rows * np.array(deviation)


def test_a_heap_is_at_no_distance_from_itself() -> None:
    x = normal(50, [0.0, 1.0, 2.0], [1.0, 2.0, 3.0], 0)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)


def test_a_shift_counts_by_its_square() -> None:
    x = normal(50, [0.0, 0.0], [1.0, 2.0], 0)
    assert frechet_distance(x, x + np.array([3.0, 4.0])) == pytest.approx(25)


def test_axis_parallel_normal_distributions_are_apart_by_their_means_and_deviations() -> None:
    x, y = normal(40, [0.0, 0.0], [1.0, 2.0], 0), normal(60, [1.0, 0.0], [3.0, 2.5], 1)
    assert frechet_distance(x, y) == pytest.approx(1**2 + (3 - 1) ** 2 + (2.5 - 2) ** 2)


def test_the_singular_values_give_what_the_square_root_of_the_covariances_gives() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(80, 6)) @ generator.normal(size=(6, 6)), generator.normal(size=(90, 6)) + 1
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.square(x.mean(0) - y.mean(0)).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert frechet_distance(x, y) == pytest.approx(expected)


def test_fewer_rows_than_features_still_give_a_distance() -> None:
    x = np.random.default_rng(0).normal(size=(10, 200))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, x + 1) == pytest.approx(200)


def test_the_kernel_distance_of_points_is_its_formula() -> None:
    x, y = np.zeros((2, 4)), np.ones((2, 4))  # kernels 1 within x, 8 within y, 1 between
    assert kernel_distance(x, y) == pytest.approx(1 + 8 - 2 * 1)


def test_the_kernel_distance_of_one_distribution_is_nothing_on_average() -> None:
    generator = np.random.default_rng(0)
    same = [kernel_distance(generator.normal(size=(50, 8)), generator.normal(size=(50, 8))) for _ in range(200)]
    assert np.mean(same) == pytest.approx(0, abs=3 * np.std(same) / np.sqrt(200))
    assert min(same) < 0 < kernel_distance(generator.normal(size=(50, 8)), generator.normal(size=(50, 8)) + 1)


def test_an_interval_lies_around_its_value_and_narrows_with_more_pictures() -> None:
    few, many = (
        distance_interval(frechet_distance, normal(n, [0.0, 0.0], [1.0, 1.0], 0), normal(n, [1.0, 0.0], [1.0, 1.0], 1)) for n in (30, 300)
    )
    for found in (few, many):
        assert found.low < found.value < found.high
        assert found.value == pytest.approx(1)
    assert many.high - many.low < (few.high - few.low) / 2
