"""A history of fakes (Shrivastava et al. 2017, arXiv:1612.07828): a discriminator that also sees earlier ones does not forget them."""

from __future__ import annotations

import torch
from torch import Tensor


class ImagePool:
    """Up to `size` fakes. Half of those shown are new; the others change places with one that was kept."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.pictures: list[Tensor] = []  # (3, H, W) each

    def swap(self, fakes: Tensor, generator: torch.Generator) -> Tensor:
        """What the discriminator is shown for a batch of new fakes (B, 3, H, W). All draws come from `generator`."""
        return torch.stack([self._swap_one(fake, generator) for fake in fakes]) if self.size else fakes

    def _swap_one(self, fake: Tensor, generator: torch.Generator) -> Tensor:
        if self.pictures and self.pictures[0].shape != fake.shape:
            self.pictures = []  # crops have grown: the pool begins anew
        if len(self.pictures) < self.size:
            self.pictures.append(fake)
            return fake
        if torch.rand((), generator=generator) < 0.5:
            return fake
        place = int(torch.randint(self.size, (), generator=generator))
        kept, self.pictures[place] = self.pictures[place], fake
        return kept

    def state(self) -> list[Tensor]:
        return [picture.cpu() for picture in self.pictures]

    def restore(self, pictures: list[Tensor], device: torch.device) -> None:
        self.pictures = [picture.to(device) for picture in pictures]
