"""An image as the parameter that an optimiser moves: the method of Gatys, Ecker & Bethge (2016), from the content image on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

Optimizer = Literal["lbfgs", "adam"]
HISTORY = 10  # pairs of steps and gradients that L-BFGS remembers


class ImageDescent:
    """Every step evaluates the loss once and moves the image. `learning_rate` is Adam's, in shares of the range of a pixel.

    The loss sees the image clamped to [0, 1], but its gradient passes as if nothing were clamped: a pixel may leave its limit again.
    """

    def __init__(
        self, start: Tensor, loss: Callable[[Tensor], Tensor], optimizer: Optimizer = "lbfgs", learning_rate: float = 0.02
    ) -> None:
        self._loss = loss
        self._image = start.clone(memory_format=torch.contiguous_format).requires_grad_()  # (1, 3, H, W); L-BFGS wants one order
        self._optimizer: torch.optim.Optimizer
        if optimizer == "adam":
            self._optimizer = torch.optim.Adam([self._image], lr=learning_rate)
        else:  # one iteration a step, without a line search: one evaluation too
            self._optimizer = torch.optim.LBFGS([self._image], max_iter=1, history_size=HISTORY, tolerance_grad=0, tolerance_change=0)

    @property
    def picture(self) -> Tensor:
        """The image after the last step, (1, 3, H, W) in [0, 1]."""
        return self._image.detach().clamp(0, 1)

    def step(self) -> float:
        """Move the image once. The loss that it had before."""
        value = self._optimizer.step(self._evaluate)  # type: ignore[arg-type]
        return float(value)

    def _evaluate(self) -> Tensor:
        self._optimizer.zero_grad()
        value = self._loss(self._image + (self.picture - self._image.detach()))
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()

    def state_dict(self) -> dict[str, Any]:
        return {"image": self._image.detach(), "optimizer": self._optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            self._image.copy_(state["image"])
        self._optimizer.load_state_dict(state["optimizer"])
