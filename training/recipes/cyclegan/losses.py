"""The losses of CycleGAN: least squares for who is real, L1 for what must come back."""

from __future__ import annotations

from torch import Tensor


def real_loss(scores: Tensor) -> Tensor:
    """How far scores are from 1, real.

    Least squares (Mao et al. 2017, arXiv:1611.04076) keep a gradient where a logistic loss has none left.
    """
    return (scores.float() - 1).square().mean()


def fake_loss(scores: Tensor) -> Tensor:
    """How far scores are from 0, fake."""
    return scores.float().square().mean()


def cycle_loss(real: Tensor, reconstructed: Tensor) -> Tensor:
    """A picture that went to the other domain and back should be itself: mean absolute difference."""
    return (reconstructed.float() - real).abs().mean()


def identity_loss(real: Tensor, answered: Tensor) -> Tensor:
    """A generator that gets a picture which is already of its target domain should leave it: it keeps colours in place."""
    return (answered.float() - real).abs().mean()
