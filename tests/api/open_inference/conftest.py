"""The protocol's tests ask one server in this process, and one real server for Triton's own clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.character_models import write_summing_model
from tests.conftest import serve
from tests.e2e.server import RunningServer, running_server
from tests.model_repository import write_colour_model, write_word_model

ADMIN_KEY = "correct horse battery staple"
MAX_BODY_BYTES = 200_000
MAX_QUEUE = 48


@pytest.fixture(scope="session")
def all_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with one model a task."""
    root = tmp_path_factory.mktemp("models")
    write_colour_model(root)
    write_word_model(root)
    write_summing_model(root)
    return root


@pytest.fixture(scope="package")
def v2(all_tasks: Path) -> Iterator[TestClient]:
    with serve(all_tasks, max_body_bytes=MAX_BODY_BYTES, max_queue_size=MAX_QUEUE) as client:
        yield client


@pytest.fixture(scope="package")
def server(all_tasks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(all_tasks, tmp_path_factory.mktemp("server") / "log", cores=2) as server:
        yield server


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "admin-key"
    path.write_text(ADMIN_KEY + "\n", encoding="utf-8")
    return path
