"""schemathesis over the server's own OpenAPI document, in a process of its own: does the server keep what the document promises?"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CONFIG = Path(__file__).with_name("schemathesis.toml")
EXTRA_S = 120  # behind its time: to finish the operation that it is at, and to shrink what it found


def run_schemathesis(address: str, folder: Path, seed: int, *options: str, timeout_s: float, output: int | None = None) -> tuple[bool, str]:
    """(nothing was found, what it printed). `folder` takes the document and the report."""
    document = folder / "openapi.json"
    document.write_text(json.dumps(with_served_models(address)), encoding="utf-8")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "--no-color"),
        *("run", str(document), "--url", address, "--seed", str(seed), *options),
    ]
    done = subprocess.run(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, text=True, timeout=timeout_s + EXTRA_S, check=False)
    return done.returncode == 0, done.stdout or ""


def with_served_models(address: str) -> dict[str, Any]:
    """The document, where a model is one that is served, and a version is 1: else hardly any request would reach one."""
    document = _get(f"{address}/openapi.json")
    models = _get(f"{address}/v1/models")["data"]
    for path, operations in document["paths"].items():
        task = path.split("/")[2] if path.startswith("/v1/") else None
        names = [model["id"] for model in models if task in (None, "models", model["task"])]
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] in ("model", "name", "version"):
                    parameter["schema"] = {"type": "string", "enum": ["1"] if parameter["name"] == "version" else names}
    return document


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def for_seconds(seconds: float) -> Sequence[str]:
    """Options of a long run."""
    return ("--max-time", str(max(1, round(seconds))), "--phases", "examples,coverage,fuzzing")
