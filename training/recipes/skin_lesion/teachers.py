"""Learning from finished runs: an ensemble's answers, put into the one network that is served.

Knowledge distillation (Hinton, Vinyals & Dean 2015, arXiv:1503.02531), the patient way (Beyer et al. 2022,
arXiv:2106.05237): the teachers answer for exactly the pixels that the student sees, turned, recoloured and mixed.
"""

from __future__ import annotations

import pydantic
import torch
from torch import Tensor, nn

from training.kit.run import Run
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.epochs import average_best, ranked_epochs
from training.recipes.skin_lesion.model import SkinLesionNet, build

EPOCHS = 3  # a teacher is the average of its best epochs on validation lesions


def load_teachers(run: Run[Config]) -> nn.ModuleList:
    """The networks of the runs in `teachers`, frozen; empty when there are none. Raises DataError for a run without an epoch."""
    return nn.ModuleList(_load(run, folder) for folder in run.config.teachers)


def _load(run: Run[Config], folder: str) -> SkinLesionNet:
    epochs = ranked_epochs(run.directory / folder, run.recipe)
    network = build(pydantic.TypeAdapter(Config).validate_python(epochs[0]["config"]))
    network.load_state_dict(average_best(epochs, EPOCHS))
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


@torch.no_grad()
def teach(teachers: nn.ModuleList, images: Tensor, targets: Tensor, weight: float) -> Tensor:
    """Targets (B, K) moved by `weight` towards the mean of the teachers' probabilities for images (B, 3, S, S)."""
    if not len(teachers):
        return targets
    return targets.lerp(together(teachers, images), weight)


def together(teachers: nn.ModuleList, images: Tensor) -> Tensor:
    """The mean of the teachers' probabilities for images (B, 3, S, S): (B, K)."""
    return torch.stack([teacher(images).float().softmax(1) for teacher in teachers]).mean(0)
