"""The first runs of a model: what it answered at export, its golden request, it must answer here."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from app.contract.manifest import Golden, Graph, ModelManifest
from app.errors import ModelRejected, ServingError
from app.runtime.pipeline import Pipeline
from app.runtime.session import Session


def try_out(manifest: ModelManifest, directory: Path, pipeline: Pipeline, session: Session) -> None:
    """The golden request, or for a model that has none one run of anything. Raises ModelRejected for another answer than it should be.

    Without a golden request nobody would notice what a lower precision does to the answers, so that is refused.
    """
    if manifest.golden is None and session.rtol:
        raise ModelRejected("it has no golden request to check a lower precision with; add one, or set AXON_GPU_PRECISION=fp32")
    if manifest.golden is None:
        _run_once(manifest.graphs["model"], session)
    else:
        _replay(manifest.golden, directory, pipeline, session)


def _replay(golden: Golden, directory: Path, pipeline: Pipeline, session: Session) -> None:
    """Send the golden request through the pipeline and the graph."""
    rows = _golden_rows(directory / golden.request, pipeline)
    answered = session.run(pipeline.collate(rows))
    for name, expected in _load_golden(directory / golden.outputs).items():
        if name not in answered or answered[name].shape != expected.shape:
            raise ModelRejected(f"the golden answer has a tensor {name!r} that the graph does not give; export the model again")
        difference = float(np.abs(answered[name].astype(np.float64) - expected).max())
        tolerance = golden.atol + session.rtol * float(np.abs(expected).max(initial=0))
        if not difference <= tolerance:
            remedy = "set AXON_GPU_PRECISION=fp32" if session.rtol else "export the model again"
            raise ModelRejected(
                f"the golden request answers {difference:.1e} away from what was recorded at export (tolerance {tolerance:.0e}); {remedy}"
            )


def _run_once(graph: Graph, session: Session) -> None:
    """Ones of every input, one row, every open axis of length 1: the outputs must have the shapes that the manifest says."""
    answered = session.run({spec.name: np.ones([max(1, size) for size in spec.shape], dtype=spec.dtype) for spec in graph.inputs})
    for spec in graph.outputs:
        shape = answered[spec.name].shape
        if len(shape) != len(spec.shape) or any(wanted not in (-1, size) for wanted, size in zip(spec.shape, shape, strict=True)):
            raise ModelRejected(f"the graph answers one row with {spec.name} of shape {list(shape)}, the manifest says {list(spec.shape)}")


def _golden_rows(path: Path, pipeline: Pipeline) -> list[Any]:
    item = path.read_text(encoding="utf-8") if path.suffix == ".txt" else path.read_bytes()
    try:
        return pipeline.preprocess(item, pipeline.default_options())
    except (AttributeError, TypeError):
        raise ModelRejected(f"{path.name} is no request of this task; a .txt file is read as text, anything else as a picture") from None
    except ServingError as error:
        raise ModelRejected(f"the golden request is refused: {error.message}; raise that limit, or export the model again") from None


def _load_golden(path: Path) -> dict[str, NDArray[Any]]:
    """What the graph answered at export, one array an output. Raises ModelRejected."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, BadZipFile, AttributeError):  # AttributeError: a bare .npy array has no files
        arrays = {}
    if not arrays or any(array.dtype.kind not in "biuf" for array in arrays.values()):
        raise ModelRejected(f"{path.name} holds no golden answer; export the model again")
    return arrays
