"""How well a score separates, at which threshold, and how sure that is: ROC curves and a bootstrap over whole groups.

Letters: N rows, R replicates of the bootstrap, T thresholds, K classes. Positive means score >= threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta
from sklearn.metrics import roc_auc_score

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """A figure with its 95 % interval (percentile bootstrap)."""

    value: float
    low: float
    high: float


def auroc(scores: Floats, positive: Bools) -> float:
    """The chance that a random positive scores above a random negative; a tie counts half."""
    return float(roc_auc_score(positive, scores))


def macro_auroc(probabilities: Floats, labels: NDArray[np.int64]) -> float:
    """Mean over the classes of one class against the rest, (N, K) and (N,). Every class must occur."""
    return float(np.mean([auroc(probabilities[:, k], labels == k) for k in range(probabilities.shape[1])]))


def recalls(predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> Floats:
    """Share of each class that was recognised, (K,); NaN for a class that does not occur. Their mean is the balanced accuracy."""
    return np.array([np.mean(predicted[labels == k] == k) if (labels == k).any() else np.nan for k in range(classes)])


def rates(scores: Floats, positive: Bools, thresholds: Floats) -> tuple[Floats, Floats]:
    """(sensitivity, specificity) at each threshold, (T,) both."""
    ranked_positive, ranked_negative = np.sort(scores[positive]), np.sort(scores[~positive])
    sensitivity = 1 - np.searchsorted(ranked_positive, thresholds, side="left") / len(ranked_positive)
    specificity = np.searchsorted(ranked_negative, thresholds, side="left") / len(ranked_negative)
    return sensitivity, specificity


def curve_thresholds(scores: Floats, positive: Bools, points: int = 120) -> Floats:
    """Rising thresholds from 0 to 1 at which a curve is stored: even steps through the ranks of both sides."""
    steps = np.linspace(0, 1, points // 2)
    chosen = np.concatenate([np.quantile(scores[positive], steps), np.quantile(scores[~positive], steps), [0.0, 1.0]])
    return np.unique(np.clip(np.round(chosen, 6), 0, 1))


def youden_threshold(scores: Floats, positive: Bools) -> float:
    """Where sensitivity + specificity - 1 is largest (Youden 1950)."""
    thresholds = np.unique(scores)
    sensitivity, specificity = rates(scores, positive, thresholds)
    return float(thresholds[np.argmax(sensitivity + specificity)])


def promised_sensitivities(positive_scores: Floats, groups: Sequence[str], confidence: float = 0.95) -> tuple[Floats, Floats]:
    """(rising thresholds, sensitivity that each may promise for unseen positives, images of unseen groups).

    With n exchangeable positives the share of new ones that the k-th smallest score catches is a draw from
    Beta(n + 1 - k, k); what lies below it with `confidence` may be promised (Vovk 2012, arXiv:1209.2673, proposition 2b;
    Wilks's tolerance limit, 1941). The empirical share, and the mean (n + 1 - k) / (n + 1) of split conformal prediction,
    are missed by every other set of positives.

    Images of one group (a lesion) score alike, so together they tell no more than one: n images of G groups promise as
    much as G positives of which the same share is caught.
    """
    ranked = np.sort(positive_scores)
    thresholds, first = np.unique(ranked, return_index=True)  # ties: the lowest rank, k - 1, catches them all
    weight = len(set(groups)) / len(ranked)
    return thresholds, beta.ppf(1 - confidence, (len(ranked) - first) * weight, first * weight + 1)


class GroupBootstrap:
    """Draws whole groups with replacement, so that several images of one lesion stay together.

    A replicate is a weight for each row, how often its group was drawn; every statistic below is computed
    for all replicates at once.
    """

    def __init__(self, groups: Sequence[str], replicates: int = 2000, seed: int = 0) -> None:
        names, member = np.unique(np.asarray(groups), return_inverse=True)
        draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
        self.weights: Floats = draws[:, member].astype(np.float64)  # (R, N)
        self._member = member  # (N,), a number for each group

    def auroc(self, scores: Floats, positive: Bools) -> Interval:
        return interval(auroc(scores, positive), self._aurocs(scores, positive))

    def macro_auroc(self, probabilities: Floats, labels: NDArray[np.int64]) -> Interval:
        classes = range(probabilities.shape[1])
        replicates = np.mean([self._aurocs(probabilities[:, k], labels == k) for k in classes], axis=0)
        return interval(macro_auroc(probabilities, labels), replicates)

    def accuracy(self, correct: Bools) -> Interval:
        return interval(float(np.mean(correct)), self._share(correct, np.ones(len(correct), bool)))

    def recall(self, predicted: NDArray[np.int64], labels: NDArray[np.int64], label: int) -> Interval:
        hit, members = predicted == label, labels == label
        measured = interval(float(np.mean(hit[members])), self._share(hit, members))
        low, high = self._never_sure(np.array([measured.low, measured.high]), measured.value, members)
        return Interval(measured.value, float(low), float(high))

    def balanced_accuracy(self, predicted: NDArray[np.int64], labels: NDArray[np.int64], classes: int) -> Interval:
        """A replicate without a class averages over the classes that it has."""
        replicates = np.array([self._share(predicted == k, labels == k) for k in range(classes)])  # (K, R)
        return interval(float(np.nanmean(recalls(predicted, labels, classes))), np.nanmean(replicates, axis=0))

    def rate_bands(self, scores: Floats, positive: Bools, thresholds: Floats) -> tuple[Floats, Floats]:
        """95 % intervals of (sensitivity, specificity) at each threshold, (T, 2) both.

        At a threshold of 0 everything is positive by definition, and the intervals have no width.
        """
        called = scores[:, None] >= thresholds  # (N, T)
        bands = []
        for hit, members in ((called, positive), (~called, ~positive)):
            total = self.weights @ members  # (R,)
            shares = (self.weights @ (hit & members[:, None]))[total > 0] / total[total > 0, None]  # (R, T)
            band = np.percentile(shares, [2.5, 97.5], axis=0).T
            bands.append(np.where(thresholds[:, None] <= 0, band, self._never_sure(band, hit[members].mean(0), members)))
        return bands[0], bands[1]

    def _never_sure(self, intervals: Floats, values: Floats | float, members: Bools) -> Floats:
        """Intervals (..., 2) of shares (...) of `members`. Where all of them are hit, or none, every replicate agrees, which
        tells nothing of others: the bound is then the exact one for as many independent draws as there are groups
        (Clopper & Pearson 1934)."""
        bound = 0.025 ** (1 / len(np.unique(self._member[members])))
        low = np.where(np.equal(values, 1), np.minimum(intervals[..., 0], bound), intervals[..., 0])
        high = np.where(np.equal(values, 0), np.maximum(intervals[..., 1], 1 - bound), intervals[..., 1])
        return np.stack([low, high], axis=-1)

    def _share(self, hit: Bools, members: Bools) -> Floats:
        """Weighted share of hits among the members, (R,); NaN where a replicate has no member."""
        total = self.weights @ members
        return np.divide(self.weights @ (hit & members), total, out=np.full(len(total), np.nan), where=total > 0)

    def _aurocs(self, scores: Floats, positive: Bools) -> Floats:
        """The rank statistic of every replicate, ties counted half, (R,)."""
        order = np.argsort(scores, kind="stable")
        starts = np.unique(scores[order], return_index=True)[1]
        above = np.add.reduceat(self.weights[:, order] * positive[order], starts, axis=1)  # (R, distinct scores)
        below = np.add.reduceat(self.weights[:, order] * ~positive[order], starts, axis=1)
        wins = (above * (np.cumsum(below, axis=1) - below / 2)).sum(1)
        pairs = above.sum(1) * below.sum(1)
        return np.divide(wins, pairs, out=np.full(len(wins), np.nan), where=pairs > 0)


def interval(value: float, replicates: Floats) -> Interval:
    """The middle 95 % of the replicates around a measured value."""
    low, high = np.nanpercentile(replicates, [2.5, 97.5])
    return Interval(value, float(low), float(high))
