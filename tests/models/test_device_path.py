"""Each model that ships, through the path that a GPU takes, with its tensors in the processor's memory: the same answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.runtime.device import CPU
from app.runtime.device_session import DeviceSession
from app.runtime.repository import ModelRepository
from app.runtime.shapes import has_fixed_rows
from tests.models.conftest import FOLDERS
from tests.models.test_shipped_models import items


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}/{folder.name}")
def test_the_answers_are_those_of_the_plain_path(folder: Path, repository: ModelRepository) -> None:
    model = repository.get(folder.parent.name)
    spec = model.manifest.graphs["model"]
    rows = model.manifest.batching.max_batch_size if has_fixed_rows(spec) else None
    session = DeviceSession(folder / spec.file, CPU, memory="cpu", rows=rows)
    options = model.pipeline.default_options()
    rows = [row for item in items(model.manifest) for row in model.pipeline.preprocess(item, options)]
    for count in range(1, len(rows) + 1):
        tensors = model.pipeline.collate(rows[:count])
        plain, answered = model.session.run(tensors), session.run(tensors)
        for name, expected in plain.items():
            np.testing.assert_allclose(answered[name], expected, atol=1e-5, rtol=1e-5)  # padding may choose another kernel
