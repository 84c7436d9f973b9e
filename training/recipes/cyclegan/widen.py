"""Wider networks that begin as what a narrower one has learnt: Net2WiderNet (Chen, Goodfellow & Shlens 2016, arXiv:1511.05641)."""

from __future__ import annotations

import torch
from torch import Tensor

Weights = dict[str, Tensor]


def widen(narrow: Weights, wide: Weights, seed: int) -> Weights:
    """`narrow`'s weights in the shapes of `wide`: the wider network computes the same function.

    Channel i of n becomes channels i, i + n, i + 2n and so on. All copies compute the same, and a layer that reads
    them shares its weight out among them at random, so that they part as soon as they learn. Instance normalisation
    treats each channel by itself and keeps the copies equal; batch normalisation would, too.
    Raises ValueError for other layers, and for fewer channels.
    """
    if narrow.keys() != wide.keys():
        raise ValueError("they have other layers")
    draws = torch.Generator().manual_seed(seed)
    return {name: _widen(narrow[name].float(), wide[name].shape, draws) for name in narrow}


def _widen(weights: Tensor, shape: torch.Size, draws: torch.Generator) -> Tensor:
    """Vectors (outputs,) or kernels (outputs, inputs, height, width)."""
    fits = weights.dim() == len(shape) and weights.shape[2:] == shape[2:]
    if not fits or any(old > new for old, new in zip(weights.shape, shape, strict=True)):
        raise ValueError(f"{tuple(weights.shape)} does not widen to {tuple(shape)}")
    weights = weights[torch.arange(shape[0]) % len(weights)]
    if weights.dim() == 1:
        return weights
    source = torch.arange(shape[1]) % weights.shape[1]
    shares = 0.5 + torch.rand(shape[:2], generator=draws)
    together = torch.zeros(weights.shape[:2]).index_add(1, source, shares)
    return weights[:, source] * (shares / together[:, source])[:, :, None, None]
