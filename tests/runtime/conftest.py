"""A repository that is loaded without a server around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from app.main import make_repository
from app.runtime.metrics import ServingMetrics
from app.runtime.repository import ModelRepository
from app.settings import Settings

Load = Callable[..., ModelRepository]


@pytest.fixture
def load() -> Iterator[Load]:
    with ThreadPoolExecutor(2) as executor:

        def loaded(root: Path, **settings: Any) -> ModelRepository:
            repository = make_repository(Settings(models=root, **settings), executor, 2, ServingMetrics())
            repository.load_all()
            return repository

        yield loaded
