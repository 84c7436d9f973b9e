"""Several networks behind one answer: the mean of their probabilities (Lakshminarayanan et al. 2017, arXiv:1612.01474).

Shapes: B images, 3 colours, H x W pixels, K classes, M members.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from training.recipes.skin_lesion.data import LABELS
from training.recipes.skin_lesion.model import SkinLesionNet


class Ensemble(nn.Module):
    """uint8 pixels in, logits out, like each of its members: the logarithm of the mean of their probabilities."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.bias = nn.Parameter(torch.zeros(len(LABELS)))

    def forward(self, pixel_values: Tensor) -> Tensor:
        answers = torch.stack([member(pixel_values).float().log_softmax(1) for member in self.members])  # (M, B, K)
        return answers.logsumexp(0) - math.log(len(self.members)) + self.bias  # (B, K)

    @torch.no_grad()
    def move_logits(self, by: Tensor) -> None:
        """Add (K,) to every answer, in place."""
        self.bias += by


def empty(variants: Sequence[str]) -> SkinLesionNet | Ensemble:
    """What is served, folded, before its weights are loaded: one network, or the ensemble of several."""
    networks = [SkinLesionNet(len(LABELS), variant=variant).fold() for variant in variants]
    return networks[0] if len(networks) == 1 else Ensemble(networks)
