"""Whether a manifest and a graph's file speak of the same tensors."""

from __future__ import annotations

from app.contract.manifest import Graph
from app.errors import ModelRejected
from app.runtime.session import OrtSession


def check_signature(graph: Graph, session: OrtSession) -> None:
    """The manifest must say of the graph what the file says of itself. Raises ModelRejected."""
    inputs, outputs = session.signature()
    for kind, specs, actual in (("inputs", graph.inputs, inputs), ("outputs", graph.outputs, outputs)):
        declared = {spec.name: (spec.datatype, spec.shape) for spec in specs}
        if declared.keys() != actual.keys() or not all(_fits(declared[name], actual[name]) for name in actual):
            raise ModelRejected(f"the manifest's {kind} of {graph.file} are {declared}, the file's are {actual}; export the model again")


def _fits(declared: tuple[str, tuple[int, ...]], actual: tuple[str, tuple[int, ...]]) -> bool:
    """The same datatype and rank, and no axis of fixed length that the manifest does not know of."""
    (datatype, shape), (actual_datatype, actual_shape) = declared, actual
    sizes = zip(shape, actual_shape, strict=False)
    return datatype == actual_datatype and len(shape) == len(actual_shape) and all(fixed in (-1, size) for size, fixed in sizes)
