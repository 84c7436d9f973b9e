"""One ONNX Runtime: the base brings none, each extra brings one, and without any the server says what to do."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def runtimes(requirements: list[str]) -> list[str]:
    return [requirement for requirement in requirements if requirement.startswith("onnxruntime")]


def test_the_base_brings_no_onnx_runtime() -> None:
    assert runtimes(PROJECT["dependencies"]) == []


@pytest.mark.parametrize(("extra", "package"), [("cpu", "onnxruntime>"), ("gpu", "onnxruntime-gpu[")])
def test_each_runtime_extra_brings_exactly_one(extra: str, package: str) -> None:
    found = runtimes(PROJECT["optional-dependencies"][extra])
    assert len(found) == 1
    assert found[0].startswith(package)


@pytest.mark.parametrize(("runtime", "status"), [("cpu", 0), ("gpu", 0), ("gpu,tensorrt", 2), ("GPU", 2)])
def test_make_serves_what_it_is_asked_for_or_says_that_it_cannot(runtime: str, status: int) -> None:
    command = ["make", "--dry-run", "serve", f"RUNTIME={runtime}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stderr
    assert (f"RUNTIME is cpu or gpu here, not {runtime}" in done.stderr) == bool(status)


def test_without_an_onnx_runtime_the_server_says_what_to_install() -> None:
    code = "import sys; sys.modules['onnxruntime'] = None; import app.main"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert "install exactly one of the extras, axon[cpu] or axon[gpu]" in done.stderr
