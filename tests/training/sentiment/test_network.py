"""The parts of the network against what they are by definition."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch.nn import functional as F

from training.recipes.sentiment import mixing, wide
from training.recipes.sentiment.batches import chunks, groups, pad
from training.recipes.sentiment.config import WideConfig
from training.recipes.sentiment.data import Split
from training.recipes.sentiment.epochs import Epoch
from training.recipes.sentiment.losses import NegativeSampler, adversarial_shift, sampled_softmax
from training.recipes.sentiment.model import pool
from training.recipes.sentiment.network import SHORT_TOKENS, Wide, first_occurrences, length_share, quantize_rows
from training.recipes.sentiment.short_texts import interleave

VOCABULARY = 50


def split_of(sequences: list[np.ndarray], labels: list[int]) -> Split:
    return Split(np.concatenate(sequences), np.cumsum([0, *map(len, sequences)]), np.array(labels))


def test_the_graph_adds_up_the_weights_that_the_regression_fitted() -> None:
    draw = np.random.default_rng(0)
    config = WideConfig(log2_buckets=8)
    sequences = [draw.integers(1, VOCABULARY, length) for length in (1, 2, 3, 40)]
    weights = draw.normal(size=VOCABULARY + 2 * 256).astype(np.float32)
    network = Wide(weights, VOCABULARY, config.log2_buckets)
    expected = wide.presence(split_of(sequences, [0, 1, 0, 1]), config, VOCABULARY) @ weights
    np.testing.assert_allclose(network(*pad(sequences)), expected, atol=127 * network.step)
    exact = np.concatenate([weights[:VOCABULARY], network.tables.numpy() * network.step]).astype(np.float32)
    expected = wide.presence(split_of(sequences, [0, 1, 0, 1]), config, VOCABULARY) @ exact
    np.testing.assert_allclose(network(*pad(sequences)), expected, atol=1e-4)


def test_the_linear_part_learns_a_word_pair() -> None:
    good, bad, no = np.array([3]), np.array([4]), 5
    sequences = [np.concatenate([np.array([10 + index % 30]), *([np.array([no])] if turned else []), word])
                 for index, (turned, word) in enumerate([(False, good), (True, bad), (False, bad), (True, good)] * 60)]  # fmt: skip
    features = wide.presence(split_of(sequences, [1, 1, 0, 0] * 60), WideConfig(log2_buckets=12), VOCABULARY)
    weights, bias = wide.fit(features, np.array([1, 1, 0, 0] * 60), WideConfig(log2_buckets=12, inverse_regularisation=10), seed=1)
    assert (((features @ weights + bias) > 0) == np.array([True, True, False, False] * 60)).all()


def test_the_linear_part_is_the_same_for_a_seed() -> None:
    draw, config = np.random.default_rng(0), WideConfig(log2_buckets=8)
    labels = draw.integers(2, size=200)
    features = wide.presence(split_of([draw.integers(1, VOCABULARY, 20) for _ in labels], labels.tolist()), config, VOCABULARY)
    (first, _), (again, _), (other, _) = (wide.fit(features, labels, config, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_slot_that_few_reviews_fill_weighs_nothing() -> None:
    sequences = [np.array([3])] * 5 + [np.array([4])] * 5 + [np.array([3, 7])]
    features = wide.presence(split_of(sequences, [1] * 5 + [0] * 6), WideConfig(log2_buckets=8), VOCABULARY)
    weights, _ = wide.fit(features, np.array([1] * 5 + [0] * 6), WideConfig(log2_buckets=8, min_reviews=3), seed=1)
    assert weights[3] > 0 > weights[4]
    assert weights[7] == 0
    assert not weights[VOCABULARY:].any()


def test_only_the_first_occurrence_within_the_length_counts() -> None:
    values = torch.tensor([[4, 4, 5, 4, 6], [9, 8, 8, 7, 7]])
    assert first_occurrences(values, torch.tensor([5, 2])).tolist() == [[1, 0, 1, 0, 1], [1, 1, 0, 0, 0]]


def test_a_row_of_bytes_is_the_row_within_half_a_step() -> None:
    table = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 20)[:, None]
    table[0] = 0
    rows, steps = quantize_rows(table)
    assert rows.dtype == torch.int8
    torch.testing.assert_close(steps[1:], table.abs().amax(dim=1, keepdim=True)[1:] / 127)
    assert ((rows.float() * steps - table).abs() <= steps * 0.501).all()


def test_pooling_sees_words_only() -> None:
    hidden = torch.tensor([[[0.5], [-0.3], [0.9]], [[-0.5], [-0.7], [0.8]]])  # (2, 3, 1)
    mean, maximum, last = pool(hidden, torch.tensor([3, 2])).T
    torch.testing.assert_close(mean, torch.tensor([1.1 / 3, -0.6]))
    torch.testing.assert_close(maximum, torch.tensor([0.9, -0.5]))
    torch.testing.assert_close(last, torch.tensor([0.9, -0.7]))


def softmax_problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    queries, embedding = torch.randn(6, 8, generator=generator), torch.randn(VOCABULARY, 8, generator=generator)
    return queries, torch.tensor([1, 2, 3, 20, 30, 49]), embedding, torch.randn(VOCABULARY, generator=generator)


def test_with_every_word_frequent_the_sampled_softmax_is_the_softmax() -> None:
    queries, targets, embedding, bias = softmax_problem()
    negatives, log_expected = NegativeSampler(torch.ones(VOCABULARY), VOCABULARY, 5).draw(torch.Generator())
    loss = sampled_softmax(queries, targets, embedding, bias, VOCABULARY, negatives, log_expected)
    torch.testing.assert_close(loss, F.cross_entropy(queries @ embedding.T + bias, targets, reduction="sum"))


def test_many_negatives_estimate_the_softmax() -> None:
    queries, targets, embedding, bias = softmax_problem()
    sampler = NegativeSampler(torch.arange(VOCABULARY, 0, -1), 10, 20_000)
    loss = sampled_softmax(queries, targets, embedding, bias, 10, *sampler.draw(torch.Generator().manual_seed(1)))
    torch.testing.assert_close(loss, F.cross_entropy(queries @ embedding.T + bias, targets, reduction="sum"), rtol=0.02, atol=0)


def test_the_adversarial_step_has_its_length_and_raises_the_loss() -> None:
    embedded = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (embedded.sum(dim=(1, 2)) ** 2).sum().backward()
    assert embedded.grad is not None
    shift = adversarial_shift(embedded.grad, embedded.detach(), norm=2.0)
    torch.testing.assert_close(shift.flatten(1).norm(dim=1), torch.full((3,), 2.0) * embedded.detach().square().mean().sqrt())
    raised = ((embedded.detach() + shift).sum(dim=(1, 2)) ** 2) > (embedded.detach().sum(dim=(1, 2)) ** 2)
    assert raised.all()


def test_groups_hold_each_review_once_and_reviews_of_similar_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 500, 640)
    batches = groups(lengths, 16, (1, 0))
    assert sorted(np.concatenate(batches)) == list(range(640))
    assert np.mean([lengths[batch].max() / lengths[batch].mean() for batch in batches]) < 1.5
    again, other = groups(lengths, 16, (1, 0)), groups(lengths, 16, (1, 1))
    assert all((one == two).all() for one, two in zip(batches, again, strict=True))
    assert any((one != two).any() for one, two in zip(batches, other, strict=True))


def test_chunks_give_every_word_but_the_first_as_a_target_once() -> None:
    input_ids = torch.arange(11).reshape(1, 11)
    parts = list(chunks(input_ids, 4))
    assert torch.cat([targets for _, targets in parts], dim=1).tolist() == [list(range(1, 11))]
    assert torch.cat([inputs for inputs, _ in parts], dim=1).tolist() == [list(range(10))]


def test_the_fit_finds_the_weights_that_made_the_labels() -> None:
    draw = np.random.default_rng(0)
    deep, linear = draw.normal(scale=3, size=(2, 20_000))
    share = draw.uniform(0.1, 1, 20_000)
    logit = deep + share * ((0.4 - 1) * deep + 0.7 * linear + 0.5)
    labels = (draw.random(20_000) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    assert mixing.fit(deep, linear, share, labels) == pytest.approx({"deep": 0.4, "wide": 0.7, "bias": 0.5}, abs=0.1)


def test_a_short_text_is_less_like_a_review() -> None:
    shares = length_share(torch.tensor([1, SHORT_TOKENS, 10_000]))
    assert shares[0] < 0.05
    assert shares[1] == 0.5
    assert shares[2] > 0.99


def test_one_batch_of_reviews_follows_three_of_short_texts() -> None:
    lengths = [5] * 8 + [90] * 4
    sequences = [np.ones(length, dtype=np.int64) for length in lengths]
    epoch = Epoch(sequences, np.zeros(12, dtype=np.float32), [np.array([index]) for index in range(12)])
    plan = interleave(epoch, longest_span=48, short_per_review=3)
    assert [lengths[group[0]] for group in plan] == [5, 5, 5, 90, 5, 5, 5, 90, 5, 5]
