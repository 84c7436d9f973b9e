"""The models that ship, or those of another repository: `AXON_MODELS=... pytest tests/models`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.main import make_repository
from app.runtime.metrics import ServingMetrics
from app.runtime.repository import ModelRepository
from app.settings import Settings

SHIPPED = Path(os.environ.get("AXON_MODELS", Path(__file__).parents[2] / "models"))
FOLDERS = sorted(path.parent for path in SHIPPED.glob("*/*/manifest.json"))


@pytest.fixture(scope="package")
def repository() -> Iterator[ModelRepository]:
    with ThreadPoolExecutor(1) as executor:
        repository = make_repository(Settings(models=SHIPPED, strict_provider=False, provider="cpu"), executor, 1, ServingMetrics())
        repository.load_all()
        yield repository
