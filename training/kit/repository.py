"""The way of an export into the model repository: made and proved beside the run, then moved there.

A refused export leaves the model that was there as it was.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from app.contract.manifest import MANIFEST_FILE, load_manifest
from training.kit.run import Run


def staging(run: Run[Any], name: str, version: str) -> Path:
    """An empty folder to export into, beside the run."""
    folder = run.directory / "export" / name / version
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def publish(staged: Path, models: Path) -> Path:
    """Move a finished export into the repository, and tell where its manifest is, which goes last. Raises ModelRejected."""
    manifest = load_manifest(staged)
    folder = models / manifest.name / manifest.version
    files = [path.relative_to(staged) for path in sorted(staged.rglob("*")) if path.is_file()]
    for file in files:  # the repository may be on another disk
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(staged / file, _partial(folder / file))
    for file in sorted(files, key=lambda file: file.name == MANIFEST_FILE):
        _partial(folder / file).replace(folder / file)
    shutil.rmtree(staged)
    return folder / MANIFEST_FILE


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")
