"""The linear part: n-gram presence, weighed as in NBSVM (Wang & Manning 2012), hashed so that a graph can look it up.

A word has its own slot; an n-gram of two or three words shares 2^log2_buckets slots by a hash of plain
int64 arithmetic, which never overflows: ids and factors are small enough.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from tqdm import tqdm

from training.kit.data import DataError
from training.recipes.sentiment.config import WideConfig

if TYPE_CHECKING:
    from training.recipes.sentiment.data import Split

FILE = "wide.npz"
PRIME = 2_147_483_647  # 2^31 - 1
FACTORS = (1_640_531_527, 1_013_904_223, 1_597_334_677)  # below PRIME; ids stay below 2^16, so a sum stays below 2^49


def buckets(ids: np.ndarray, order: int, log2_buckets: int) -> np.ndarray:
    """The bucket of each n-gram of `order` words in one review: (T,) -> (T - order + 1,)."""
    count = max(len(ids) - order + 1, 0)
    total = np.full(count, order, dtype=np.int64)
    for position in range(order):
        total += ids[position : position + count] * FACTORS[position]
    return (total % PRIME) % (1 << log2_buckets)


def presence(split: Split, config: WideConfig, vocabulary_size: int, title: str | None = None) -> sparse.csr_matrix:
    """1 where a review holds the word or an n-gram of the bucket, (n, slots) float32: words first, then one table an order."""
    rows = []
    for index in tqdm(range(len(split)), title, unit="review", disable=title is None, mininterval=5):
        ids = split[index]
        parts = [ids]
        for order in range(2, config.max_order + 1):
            parts.append(vocabulary_size + ((order - 2) << config.log2_buckets) + buckets(ids, order, config.log2_buckets))
        rows.append(np.unique(np.concatenate(parts)))
    pointers = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate(rows)
    shape = (len(split), vocabulary_size + ((config.max_order - 1) << config.log2_buckets))
    return sparse.csr_matrix((np.ones(len(columns), dtype=np.float32), columns, pointers), shape=shape)


def fit(features: sparse.csr_matrix, labels: np.ndarray, config: WideConfig, seed: int) -> tuple[np.ndarray, float]:
    """Weights (slots,) and bias of the positive class's logit: a logistic regression on features scaled by their log-count ratio.

    A slot that fewer than `min_reviews` reviews fill weighs nothing, so that an n-gram never seen mostly falls on nothing.
    """
    ratio = log_count_ratio(features, labels)
    ratio[np.asarray(features.sum(axis=0)).ravel() < config.min_reviews] = 0.0
    scaled = (features @ sparse.diags(ratio.astype(np.float32))).tocsr()
    scaled.eliminate_zeros()
    model = LogisticRegression(C=config.inverse_regularisation, solver="liblinear", dual=True, max_iter=1000, random_state=seed)
    model.fit(scaled, labels)
    return (ratio * model.coef_[0]).astype(np.float32), float(model.intercept_[0])


def log_count_ratio(features: sparse.csr_matrix, labels: np.ndarray) -> np.ndarray:
    """log of (share among positive) / (share among negative) per slot, each count raised by one."""
    positive = 1 + np.asarray(features[labels == 1].sum(axis=0)).ravel()
    negative = 1 + np.asarray(features[labels == 0].sum(axis=0)).ravel()
    return np.log((positive / positive.sum()) / (negative / negative.sum()))


def quantize(weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights as int8 and their step: the table of n-grams is the largest part of the file, and coarse weights rank as well."""
    step = max(float(np.abs(weights).max()) / 127, 1e-12)
    return np.round(weights / step).astype(np.int8), step


def save(path: Path, **arrays: Any) -> None:
    """Write whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)


def load(path: Path) -> dict[str, np.ndarray]:
    """What `save` wrote. Raises DataError for a file that is cut off."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}): remove it, and `axon-train sentiment train` fits the linear part anew") from error
