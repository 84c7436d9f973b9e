"""The check that an answer does not depend on its batch mates, for any served model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.runtime.generative_model import GenerativeModel
from app.runtime.served_model import ServedModel

ATOL = 1e-4


def largest_influence(model: ServedModel | GenerativeModel, items: Sequence[Any], options: Sequence[Any] = ()) -> float:
    """The largest change of any output of any item between a run alone and one run with all the others.

    `options` are those of each item, by default the model's own.
    """
    each_options = options or [model.pipeline.default_options()] * len(items)
    rows = [row for item, own in zip(items, each_options, strict=True) for row in model.pipeline.preprocess(item, own)]
    together = model.session.run(model.pipeline.collate(rows))
    alone = [model.session.run(model.pipeline.collate([row])) for row in rows]
    return max(_influence(together[name][index], answer[0]) for index, single in enumerate(alone) for name, answer in single.items())


def _influence(together: NDArray[Any], alone: NDArray[Any]) -> float:
    """What stands behind a sequence's own end, where its longer mates go on, is no answer."""
    return float(np.abs(together[: len(alone)] - alone).max())
