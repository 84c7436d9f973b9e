"""A history of fakes (Shrivastava et al. 2017, arXiv:1612.07828): a discriminator that also sees earlier ones does not forget them.

What is exchanged is drawn beforehand, so that the exchange itself is a few operations on tensors, which a GPU can record.
"""

from __future__ import annotations

import torch
from torch import Tensor


class ImagePool:
    """Up to `size` fakes. Half of those shown are new; the others change places with one that was kept.

    B fakes a step, not more than the pool has places; S x S pixels.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.filled = 0
        self.pictures = torch.empty(0)  # (size + 1, 3, S, S); the last row takes what is not kept

    def fit(self, side: int, device: torch.device) -> None:
        """Make room for fakes of this side; where crops have grown the pool begins anew."""
        if self.size and self.pictures.shape[-1] != side:
            self.filled, self.pictures = 0, torch.zeros(self.size + 1, 3, side, side, device=device)

    def draw(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For the next `count` fakes: each one's place in the pool (count,), and whether what lay there is shown for it (count,)."""
        full = self.filled == self.size  # a place that is filled in this step cannot be shown in it
        drawn = torch.randperm(self.size, generator=generator)[:count]  # no place twice
        old = (torch.rand(len(drawn), generator=generator) >= 0.5) & full
        if not full:
            drawn = torch.arange(self.filled, self.filled + len(drawn)).clamp(max=self.size)
            self.filled = min(self.filled + len(drawn), self.size)
            return drawn, old
        return torch.where(old, drawn, self.size), old

    def swap(self, fakes: Tensor, places: Tensor, old: Tensor) -> Tensor:
        """What the discriminator is shown for new fakes (B, 3, S, S), as drawn."""
        if not self.size:
            return fakes
        fakes = fakes.float()
        shown = torch.where(old[:, None, None, None], self.pictures[places], fakes)
        self.pictures[places] = fakes
        return shown

    def state(self) -> Tensor:
        return self.pictures[: self.filled].cpu()

    def restore(self, pictures: Tensor, device: torch.device) -> None:
        """Bring back what `state` gave."""
        self.filled, self.pictures = 0, torch.empty(0)
        if len(pictures):
            self.fit(pictures.shape[-1], device)
            self.filled = len(pictures)
            self.pictures[: self.filled] = pictures.to(device)
