"""An image as the parameter that an optimiser moves: the method of Gatys, Ecker & Bethge (2016), from the content image on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

Optimizer = Literal["adam", "lbfgs"]
HISTORY = 10  # pairs that L-BFGS remembers


def descend(
    start: Tensor, loss: Callable[[Tensor], Tensor], steps: int, optimizer: Optimizer = "lbfgs", learning_rate: float = 0.02
) -> Iterator[tuple[Tensor, float]]:
    """After each of `steps` evaluations of the loss: (the image in [0, 1] that it was of, its loss). `learning_rate` is Adam's.

    The loss sees the clamped image, but its gradient passes as if nothing were clamped: a pixel may come back from its limit.
    """
    image = start.clone(memory_format=torch.contiguous_format).requires_grad_()  # (1, 3, H, W); L-BFGS wants one order
    seen: list[tuple[Tensor, float]] = []

    def evaluate() -> Tensor:
        moving.zero_grad()
        clamped = image + (image.detach().clamp(0, 1) - image.detach())
        value = loss(clamped)
        value.backward()  # type: ignore[no-untyped-call]
        seen.append((clamped.detach(), value.item()))
        return value

    moving: torch.optim.Optimizer
    if optimizer == "adam":
        moving = torch.optim.Adam([image], lr=learning_rate)
    else:
        moving = torch.optim.LBFGS([image], max_iter=1, history_size=HISTORY, tolerance_grad=0, tolerance_change=0)
    for _ in range(steps):
        seen.clear()
        moving.step(evaluate)  # type: ignore[arg-type]
        yield seen[0]
