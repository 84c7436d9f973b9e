"""Learning from finished runs: an ensemble's answers, put into the one network that is trained.

Knowledge distillation (Hinton, Vinyals & Dean 2015, arXiv:1503.02531), the patient way (Beyer et al. 2022,
arXiv:2106.05237): the teachers answer for exactly the pixels that the student sees, turned, recoloured and mixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from training.kit.run import Run
from training.recipes.skin_lesion.config import Config
from training.recipes.skin_lesion.ensemble import Ensemble
from training.recipes.skin_lesion.epochs import average_best, config_of, epoch_files, ranked_epochs
from training.recipes.skin_lesion.model import SkinLesionNet, build

EPOCHS = 3  # a teacher is the average of its best epochs on validation lesions


def check_teachers(run: Run[Config]) -> None:
    """Raises DataError where a run in `teachers` has no epoch."""
    for folder in run.config.teachers:
        epoch_files(run.directory / folder, run.recipe)


def load_teachers(run: Run[Config]) -> Ensemble | None:
    """The networks of the runs in `teachers`, frozen; None when there are none.

    Raises DataError for a run without an epoch, ConfigError for one that learnt from lesions which are held out here.
    """
    if not run.config.teachers:
        return None
    return Ensemble([_load(run, folder) for folder in run.config.teachers]).eval().requires_grad_(False)


def _load(run: Run[Config], folder: str) -> SkinLesionNet:
    epochs = ranked_epochs(run.directory / folder, run.recipe)
    network = build(config_of(epochs, run.config, run.directory / folder))
    network.load_state_dict(average_best(epochs, EPOCHS))
    return network.to(memory_format=torch.channels_last)


@torch.no_grad()
def teach(teachers: Ensemble | None, images: Tensor, targets: Tensor, weight: float) -> Tensor:
    """Targets (B, K) moved by `weight` towards the mean of the teachers' probabilities for images (B, 3, S, S)."""
    return targets if teachers is None else targets.lerp(teachers(images).softmax(1), weight)
