import numpy as np
import pytest
from scipy.stats import beta, norm
from sklearn.metrics import balanced_accuracy_score, roc_auc_score, roc_curve

from training.kit.roc import (
    GroupBootstrap,
    Interval,
    auroc,
    curve_thresholds,
    macro_auroc,
    promised_sensitivities,
    rates,
    recalls,
    youden_threshold,
)

SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
POSITIVE = np.array([False, False, True, False, True, True])  # 8 of 9 pairs in order


@pytest.fixture
def noisy() -> tuple[np.ndarray, np.ndarray]:
    """400 scores with many ties, a fifth of them positive."""
    generator = np.random.default_rng(0)
    positive = generator.random(400) < 0.2
    return np.round(generator.normal(positive, 1.0), 1), positive


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    assert auroc(SCORES, POSITIVE) == pytest.approx(8 / 9)


def test_macro_auroc_is_the_mean_over_the_classes() -> None:
    labels = np.array([0, 0, 1, 1, 2, 2])
    probabilities = np.eye(3)[labels]
    probabilities[:, 2] = [0, 0, 1, 1, 0, 0]  # the third class is always ranked last
    probabilities[4:, 2] = -1
    assert macro_auroc(probabilities, labels) == pytest.approx((1 + 1 + 0) / 3)


def test_rates_count_a_score_at_the_threshold_as_positive() -> None:
    sensitivity, specificity = rates(SCORES, POSITIVE, np.array([0.0, 0.3, 0.45, 0.5, 0.9]))
    assert sensitivity.tolist() == pytest.approx([1, 1, 2 / 3, 2 / 3, 0])
    assert specificity.tolist() == pytest.approx([0, 2 / 3, 1, 1, 1])


def test_rates_agree_with_scikit_learn(noisy: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positive = noisy
    false_positive, true_positive, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    sensitivity, specificity = rates(scores, positive, thresholds)
    np.testing.assert_allclose(sensitivity, true_positive)
    np.testing.assert_allclose(1 - specificity, false_positive)


def test_youden_finds_the_best_threshold() -> None:
    assert youden_threshold(SCORES, POSITIVE) in (0.3, 0.5)  # both have J = 2/3
    assert youden_threshold(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True])) == 0.8


def test_a_curve_runs_from_zero_to_one_and_rises(noisy: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positive = noisy
    thresholds = curve_thresholds(1 / (1 + np.exp(-scores)), positive)
    assert thresholds[0] == 0
    assert thresholds[-1] == 1
    assert (np.diff(thresholds) > 0).all()


def apart(count: int) -> list[str]:
    """Groups of one."""
    return [str(i) for i in range(count)]


def test_nineteen_positives_can_promise_eighty_five_percent_at_their_lowest_score() -> None:
    thresholds, promised = promised_sensitivities(np.arange(1, 20) / 20, apart(19))
    assert thresholds[0] == 0.05
    assert promised[0] == pytest.approx(0.05 ** (1 / 19))  # all 19 lie above: Beta(19, 1)
    assert promised[-1] == pytest.approx(1 - 0.95 ** (1 / 19))


def test_a_promised_sensitivity_is_kept_by_nineteen_of_twenty_sets_of_positives() -> None:
    generator = np.random.default_rng(1)
    kept = []
    for _ in range(2000):
        thresholds, promised = promised_sensitivities(generator.uniform(size=59), apart(59))  # the fewest that can promise 95 %
        sensitivity = 1 - thresholds[promised >= 0.95].max()  # of uniform scores
        kept.append(sensitivity >= 0.95)
    assert np.mean(kept) == pytest.approx(1 - 0.95**59, abs=3 * np.sqrt(0.95 * 0.05 / 2000))


def kept_promises(by_group: bool) -> float:
    """How often 89 % are kept by 60 lesions with one to five images each, which score as their lesion does, but for a little noise."""
    generator, kept = np.random.default_rng(5), []
    for _ in range(1000):
        lesions = np.repeat(np.arange(60), generator.integers(1, 6, 60))
        scores = np.sqrt(0.9) * generator.normal(size=60)[lesions] + np.sqrt(0.1) * generator.normal(size=len(lesions))
        thresholds, promised = promised_sensitivities(scores, (lesions if by_group else np.arange(len(lesions))).astype(str).tolist())
        kept.append(norm.sf(thresholds[promised >= 0.89].max()) >= 0.89)
    return float(np.mean(kept))


def test_a_promise_is_kept_where_lesions_have_several_images() -> None:
    assert kept_promises(by_group=True) >= 0.94
    assert kept_promises(by_group=False) < 0.87  # images that count as if they were strangers promise too much


def test_tied_positives_share_one_promise() -> None:
    thresholds, promised = promised_sensitivities(np.array([0.5, 0.5, 0.5, 0.9]), apart(4))
    assert thresholds.tolist() == [0.5, 0.9]
    assert promised.tolist() == pytest.approx([0.05 ** (1 / 4), 1 - 0.95 ** (1 / 4)])


def test_a_class_that_does_not_occur_has_no_recall() -> None:
    found = recalls(np.array([0, 1, 1]), np.array([0, 0, 1]), 3)
    assert found[:2].tolist() == [0.5, 1.0]
    assert np.isnan(found[2])


def test_weighted_aurocs_agree_with_scikit_learn(noisy: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positive = noisy
    bootstrap = GroupBootstrap([str(i // 3) for i in range(len(scores))], replicates=20)
    expected = [roc_auc_score(positive, scores, sample_weight=weights) for weights in bootstrap.weights]
    np.testing.assert_allclose(bootstrap._aurocs(scores, positive), expected)


def test_the_images_of_a_lesion_are_drawn_together() -> None:
    weights = GroupBootstrap(["a", "b", "a", "c"], replicates=50).weights
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, [0, 1, 3]].sum(1), 3)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for _ in range(100):
        correct = np.repeat(generator.random(150) < 0.8, 2)  # two images a lesion, alike
        found = GroupBootstrap([str(i // 2) for i in range(300)], replicates=300).accuracy(correct)
        covered += found.low <= 0.8 <= found.high
    assert 87 <= covered <= 100


def test_balanced_accuracy_agrees_with_scikit_learn(noisy: tuple[np.ndarray, np.ndarray]) -> None:
    labels = np.random.default_rng(3).integers(0, 4, 400)
    predicted = np.where(np.arange(400) % 3 == 0, 0, labels)
    found = GroupBootstrap([str(i) for i in range(400)], replicates=50).balanced_accuracy(predicted, labels, 4)
    assert found.value == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.low < found.value < found.high


def test_bands_are_the_percentiles_of_each_replicates_rates(noisy: tuple[np.ndarray, np.ndarray]) -> None:
    scores, positive = noisy
    bootstrap = GroupBootstrap([str(i) for i in range(len(scores))], replicates=100)
    sensitivity_band, specificity_band = bootstrap.rate_bands(scores, positive, np.array([0.0, 1.0]))
    for band, hit, members in ((sensitivity_band, scores >= 1.0, positive), (specificity_band, scores < 1.0, ~positive)):
        shares = [np.average(hit[members], weights=weights[members]) for weights in bootstrap.weights]
        assert band[1].tolist() == pytest.approx(np.percentile(shares, [2.5, 97.5]).tolist())


def test_a_rate_of_one_or_nothing_is_as_sure_as_the_number_of_groups_allows() -> None:
    scores = np.repeat([0.9, 0.8, 0.1, 0.2], 20)
    positive = np.repeat([True, True, False, False], 20)
    bootstrap = GroupBootstrap([str(i // 2) for i in range(80)], replicates=50)  # 20 groups on each side
    bound = beta.ppf(0.025, 20, 1)  # Clopper and Pearson's, of 20 of 20
    sensitivity_band, specificity_band = bootstrap.rate_bands(scores, positive, np.array([0.0, 0.5, 0.85, 0.95]))
    assert sensitivity_band[[0, 1, 3]].tolist() == [[1, 1], pytest.approx([bound, 1]), pytest.approx([0, 1 - bound])]
    assert specificity_band[[0, 1]].tolist() == [[0, 0], pytest.approx([bound, 1])]
    assert 0 < sensitivity_band[2, 0] < 0.5 < sensitivity_band[2, 1] < 1  # half: as the replicates say
    predicted = positive.astype(np.int64)
    assert bootstrap.recall(predicted, predicted, 1) == Interval(1.0, pytest.approx(bound), 1.0)
