"""Where weights come from: the commit, the versions and the machine, for a manifest."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.contract.manifest import DataSource, Provenance
from training.kit.config import config_dict
from training.kit.run import Run
from training.kit.run_log import RunLog, hardware

PACKAGES = ("torch", "lightning-fabric", "onnx", "onnxruntime", "numpy", "pillow", "scikit-learn")


def describe(
    run: Run[Any], data: tuple[DataSource, ...], trained_at: float, duration_s: float, directories: Sequence[Path] = ()
) -> Provenance:
    """`trained_at` is when training ended, in seconds since 1970; `duration_s` what it took on the clock.

    `directories` are those of the runs that trained the weights, where that is not this one.
    """
    return Provenance(
        recipe=run.recipe,
        preset=run.preset,
        commit=commit(run.recipe),
        config=config_dict(run.config),
        data=data,
        trained_at=datetime.fromtimestamp(int(trained_at), UTC),
        versions={"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES},
        hardware="; ".join(dict.fromkeys(trained_on(directory) for directory in directories or (run.directory,))),
        duration_s=round(duration_s, 1),
    )


def commit(recipe: str) -> str:
    """The checked-out commit, `-dirty` where the kit or the recipe differ from it; `unknown` outside a git checkout."""
    training = Path(__file__).parents[1]
    own = [str(training / "kit"), str(training / "nets"), str(training / "recipes" / recipe.replace("-", "_"))]
    try:
        head = _git(training, "rev-parse", "HEAD").strip()
        changed = _git(training, "status", "--porcelain", "--untracked-files=no", "--", *own)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}-dirty" if changed.strip() else head


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def trained_on(directory: Path) -> str:
    """The hardware of the last epoch in the run's logs; this machine's where they do not say."""
    logs = [RunLog(path.parent, quiet=True).rows() for path in directory.rglob("log.jsonl")]
    latest = max((row for rows in logs for row in rows), key=lambda row: row["time"], default={})
    return str(latest.get("hardware") or hardware())
