"""Who may import whom: the contracts of pyproject.toml, and what they cannot see."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def imported(file: Path) -> Iterator[str]:
    """The top-level names of all modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_the_import_contracts_hold() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert ", 0 broken" in result.stdout


def test_the_server_starts_where_torch_is_missing() -> None:
    script = """
import sys
for name in ("torch", "training", "lightning_fabric", "onnx", "sklearn", "matplotlib"):
    sys.modules[name] = None
import app.command_line, app.main
from app.settings import Settings
print(app.main.create_app(Settings()).title)
"""
    result = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (result.stdout, result.stderr) == ("Axon\n", "")


def test_only_the_session_imports_onnx_runtime() -> None:
    """The converter to fp16 is a tool in its package, and no runtime."""
    importers = [file for file in (ROOT / "app").rglob("*.py") if "onnxruntime" in imported(file)]
    assert set(importers) == {ROOT / "app" / "runtime" / name for name in ("session.py", "half_precision.py")}


def test_nothing_unpickles() -> None:
    for file in (ROOT / "app").rglob("*.py"):
        assert not {"pickle", "dill", "joblib", "shelve", "marshal"} & set(imported(file)), file


def test_nothing_in_the_server_fetches() -> None:
    for file in (ROOT / "app").rglob("*.py"):
        assert not {"requests", "httpx", "httpx2", "urllib", "aiohttp"} & set(imported(file)), file


def test_the_runtime_and_the_tasks_know_no_http_exception() -> None:
    for folder in ("runtime", "tasks", "contract"):
        for file in (ROOT / "app" / folder).rglob("*.py"):
            assert "HTTPException" not in file.read_text(encoding="utf-8"), file
