"""The shapes that a model's tensors can have: which axes are open, and how far they reach."""

from __future__ import annotations

from collections.abc import Sequence

from app.contract.images import ImageProcessor, PhotographProcessor
from app.contract.manifest import Graph, ModelManifest, TensorSpec
from app.contract.text import TextProcessor

Bounds = dict[str, list[tuple[int, int]]]  # name of an input -> (shortest, longest) of each axis


def has_fixed_rows(graph: Graph) -> bool:
    """Whether the first axis of every tensor is the batch, and no other is open: then the number of rows is the whole shape."""
    return all(spec.shape[:1] == (-1,) and min(spec.shape[1:], default=1) > 0 for spec in (*graph.inputs, *graph.outputs))


def input_bounds(manifest: ModelManifest, max_rows: int) -> Bounds | None:
    """How long each axis of each input may become; None if that is not known of one."""
    bounds: Bounds = {}
    for spec in manifest.graphs["model"].inputs:
        axes = _axis_bounds(spec, manifest, max_rows)
        if axes is None:
            return None
        bounds[spec.name] = axes
    return bounds


def _axis_bounds(spec: TensorSpec, manifest: ModelManifest, max_rows: int) -> list[tuple[int, int]] | None:
    open_axes = iter(_open_axes(spec, manifest))
    axes: list[tuple[int, int]] = []
    for index, size in enumerate(spec.shape):
        bound = (size, size) if size != -1 else (1, max_rows) if index == 0 else next(open_axes, None)
        if bound is None:
            return None
        axes.append(bound)
    return axes


def _open_axes(spec: TensorSpec, manifest: ModelManifest) -> Sequence[tuple[int, int]]:
    """Bounds of the open axes behind the first, as far as the processor tells."""
    processor = manifest.processor
    if isinstance(processor, PhotographProcessor) and len(spec.shape) == 4:
        return [(processor.min_side_px, processor.max_side_px)] * 2
    if isinstance(processor, ImageProcessor) and len(spec.shape) == 4:
        return [(processor.height, processor.height), (processor.width, processor.width)]
    if isinstance(processor, TextProcessor) and len(spec.shape) == 2:
        return [(1, processor.max_tokens)]
    return []
