"""What trains here: the machine, the versions, the commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import torch

PACKAGES = ("torch", "lightning-fabric", "onnx", "onnxruntime", "numpy", "pillow", "scikit-learn")


def versions() -> dict[str, str]:
    """Of Python and of PACKAGES, as far as they are there: a machine that only trains may have no ONNX Runtime."""
    return {"python": platform.python_version()} | {name: version for name in PACKAGES if (version := _version(name))}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def commit(recipe: str) -> str:
    """The checked-out commit, `-dirty` where code that shapes the run differs from it; `unknown` outside a git checkout."""
    training = Path(__file__).parents[1]
    shared = [training / "kit", training / "nets", training.parent / "app" / "contract"]
    own = [str(folder) for folder in (*shared, training / "recipes" / recipe.replace("-", "_"))]
    try:
        head = _git(training, "rev-parse", "HEAD").strip()
        changed = _git(training, "status", "--porcelain", "--", *own)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}-dirty" if changed.strip() else head


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def hardware() -> str:
    """`AMD EPYC, 1 thread of 2 cores`, or the GPU's name where there is one."""
    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    threads = torch.get_num_threads()
    return f"{_processor()}, {threads} thread{'s' if threads > 1 else ''} of {os.cpu_count()} cores"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
