"""How far two heaps of pictures are apart, by the features that a network has of them.

Letters: N and M rows, D features. Both distances need as many rows as there are; see `frechet_distance`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.kit.roc import Interval

Floats = NDArray[np.floating]
Distance = Callable[[Floats, Floats], float]


def frechet_distance(x: Floats, y: Floats) -> float:
    """Squared 2-Wasserstein distance between normal distributions with the means and covariances of x (N, D) and y (M, D)
    (Heusel et al. 2017, arXiv:1706.08500, who take features of another network).

    |m - n|^2 + tr A + tr B - 2 tr (A B)^(1/2). With A = P'P and B = Q'Q the last trace is the sum of the singular values
    of P Q', (N, M): exact, and no square root of a (D, D) matrix. Few rows bias it upwards, so compare only distances
    that were measured with the same N and M.
    """
    p, q = ((rows - rows.mean(0)) / np.sqrt(len(rows) - 1) for rows in (x.astype(np.float64), y.astype(np.float64)))
    between = np.square(x.mean(0, dtype=np.float64) - y.mean(0, dtype=np.float64)).sum()
    return float(between + np.square(p).sum() + np.square(q).sum() - 2 * np.linalg.svd(p @ q.T, compute_uv=False).sum())


def kernel_distance(x: Floats, y: Floats) -> float:
    """Kernel inception distance (Binkowski et al. 2018, arXiv:1801.01401): the squared maximum mean discrepancy with the
    kernel (x'y / D + 1)^3, over all rows at once. Unbiased for any number of rows, so it may be below 0."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    within = sum(_mean_off_diagonal(_kernel(rows, rows)) for rows in (x, y))
    return float(within - 2 * _kernel(x, y).mean())


def _kernel(x: Floats, y: Floats) -> Floats:
    values: Floats = (x @ y.T / x.shape[1] + 1) ** 3  # (N, M)
    return values


def _mean_off_diagonal(square: Floats) -> float:
    count = len(square)
    return float((square.sum() - np.trace(square)) / (count * (count - 1)))


def distance_interval(distance: Distance, x: Floats, y: Floats, replicates: int = 500, seed: int = 0) -> Interval:
    """A distance with its 95 % interval over both heaps' pictures.

    Drawing with replacement leaves fewer different pictures, which by itself moves a distance; so the replicates give
    the interval its width, and the measured value gives it its place.
    """
    value = distance(x, y)
    generator = np.random.default_rng(seed)
    draws = np.array([
        distance(x[generator.integers(len(x), size=len(x))], y[generator.integers(len(y), size=len(y))]) for _ in range(replicates)
    ])  # fmt: skip
    low, high = np.percentile(draws - draws.mean(), [2.5, 97.5])
    return Interval(value, float(value + low), float(value + high))
