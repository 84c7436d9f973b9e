"""Gram matrices and the losses on them, against values known by construction."""

from __future__ import annotations

import pytest
import torch

from training.nets.perceptual import content_loss, gram_error, gram_matrix, style_loss, total_variation


def test_a_gram_matrix_is_the_mean_product_of_two_channels() -> None:
    features = torch.tensor([[[[1.0, 3.0]], [[2.0, 4.0]]]])  # two channels of two places: (1, 3) and (2, 4)
    assert gram_matrix(features).tolist() == [[[5.0, 7.0], [7.0, 10.0]]]


def test_a_gram_matrix_does_not_depend_on_where_things_are() -> None:
    features = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    moved = features.flatten(2)[:, :, torch.randperm(24)].unflatten(2, (6, 4))
    torch.testing.assert_close(gram_matrix(features), gram_matrix(moved))


def test_the_gradient_of_a_gram_matrix_is_the_derivative() -> None:
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    flat = features.flatten(2)
    (flat @ flat.transpose(1, 2) / 20).pow(3).sum().backward()
    expected = features.grad.clone()  # type: ignore[union-attr]
    features.grad = None
    gram_matrix(features).double().pow(3).sum().backward()
    torch.testing.assert_close(features.grad, expected, rtol=1e-4, atol=1e-5)


def test_a_gram_matrix_of_bfloat16_features_is_summed_in_float32() -> None:
    features = torch.ones(1, 1, 100, 100, dtype=torch.bfloat16)
    features[0, 0, 0, 0] = 3
    assert gram_matrix(features).item() == pytest.approx(1 + 8 / 10_000, abs=1e-6)


def test_an_empty_picture_has_a_loss_of_one_and_the_target_itself_of_nothing() -> None:
    target = torch.rand(3, 4, 5, 5, generator=torch.Generator().manual_seed(0)) + 1
    assert content_loss(torch.zeros_like(target), target).tolist() == pytest.approx([1, 1, 1], abs=1e-6)
    assert content_loss(target, target).tolist() == [0, 0, 0]
    gram = gram_matrix(target)
    errors = gram_error(gram, gram)
    assert errors.shape == (3, 3)
    assert errors.diagonal().tolist() == [0, 0, 0]
    assert gram_error(torch.zeros_like(gram), gram).flatten().tolist() == pytest.approx([1] * 9, abs=1e-5)


def test_layers_count_by_their_weights() -> None:
    target = {"conv1_1": torch.ones(1, 2, 2), "conv2_1": torch.ones(1, 3, 3)}
    found = {"conv1_1": torch.zeros(1, 2, 2), "conv2_1": torch.full((1, 3, 3), 3.0)}  # errors 1 and 4
    assert style_loss(found, target, {"conv1_1": 0.5, "conv2_1": 2.0}).item() == pytest.approx(0.5 * 1 + 2 * 4)


def test_variation_is_nothing_on_a_plain_picture_and_one_from_black_to_white() -> None:
    stripes = torch.tensor([0.0, 1.0, 0.0, 1.0]).expand(1, 3, 4, 4)  # changes at every step to the right, at none down
    assert total_variation(torch.full((1, 3, 4, 4), 0.7)).item() == 0
    assert total_variation(stripes).item() == 1
