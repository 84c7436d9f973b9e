"""The application on the toy models, and what every error must look like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.conftest import serve


@pytest.fixture(scope="package")
def client(toy_models: Path) -> Iterator[TestClient]:
    with serve(toy_models, max_body_bytes=2_000_000) as client:
        yield client
