"""What several folders of tests share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.character_models import write_summing_model
from tests.model_repository import write_colour_model, write_word_model

Serve = Callable[..., AbstractContextManager[TestClient]]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with one model a task. Read only: several tests share it."""
    root = tmp_path_factory.mktemp("models")
    write_colour_model(root)
    write_word_model(root)
    return root


@pytest.fixture(scope="session")
def character_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with a model that writes, and one that does not."""
    root = tmp_path_factory.mktemp("models")
    write_summing_model(root)
    write_word_model(root)
    return root


@contextmanager
def serve(models: Path, **settings: Any) -> Iterator[TestClient]:
    """The whole application on a model repository, once it has looked at every model."""
    app = create_app(Settings(models=models, **({"cores": 2} | settings)))
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_until_loaded(client)
        yield client


def wait_until_loaded(client: TestClient, timeout_s: float = 30) -> None:
    give_up_at = time.monotonic() + timeout_s
    while any(model["state"] == "loading" for model in client.get("/health/ready").json()["models"]):
        assert time.monotonic() < give_up_at, "the models did not load in time"
        time.sleep(0.01)
