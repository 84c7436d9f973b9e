"""The check that an answer does not depend on its batch mates, for any served model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from app.runtime.served_model import ServedModel

ATOL = 1e-4


def largest_influence(model: ServedModel, items: Sequence[Any]) -> float:
    """The largest change of any output of any item between a run alone and one run with all the others."""
    options = model.pipeline.default_options()
    rows = [row for item in items for row in model.pipeline.preprocess(item, options)]
    together = model.session.run(model.pipeline.collate(rows))
    alone = [model.session.run(model.pipeline.collate([row])) for row in rows]
    return max(float(np.abs(together[name][index] - single[name][0]).max()) for index, single in enumerate(alone) for name in together)
