"""The golden request: what the graph answered at export, it must answer here."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from app.contract.manifest import ModelManifest
from app.errors import ModelRejected, ServingError
from app.runtime.pipeline import Pipeline
from app.runtime.session import Session


def replay_golden(manifest: ModelManifest, directory: Path, pipeline: Pipeline, session: Session) -> None:
    """Send the golden request through the pipeline and the graph. Raises ModelRejected when the answer is another one."""
    rows = _golden_rows(directory / manifest.golden.request, pipeline)
    answered = session.run(pipeline.collate(rows))
    for name, expected in _load_golden(directory / manifest.golden.outputs).items():
        if name not in answered or answered[name].shape != expected.shape:
            raise ModelRejected(f"the golden answer has a tensor {name!r} that the graph does not give; export the model again")
        difference = float(np.abs(answered[name].astype(np.float64) - expected).max())
        if not difference <= manifest.golden.atol:
            raise ModelRejected(
                f"the golden request answers {difference:.1e} away from what was recorded at export "
                f"(tolerance {manifest.golden.atol:.0e}); export the model again"
            )


def _golden_rows(path: Path, pipeline: Pipeline) -> list[Any]:
    item = path.read_text(encoding="utf-8") if path.suffix == ".txt" else path.read_bytes()
    try:
        return pipeline.preprocess(item, pipeline.default_options())
    except ServingError as error:
        raise ModelRejected(f"the golden request is refused: {error.message}; raise that limit, or export the model again") from None


def _load_golden(path: Path) -> dict[str, NDArray[Any]]:
    """What the graph answered at export, one array an output. Raises ModelRejected."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, BadZipFile, AttributeError):  # AttributeError: a bare .npy array has no files
        arrays = {}
    if not arrays:
        raise ModelRejected(f"{path.name} holds no golden answer; export the model again")
    return arrays
