"""What a model takes and gives, in the protocol's words and in those of Triton's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.api.open_inference.schemas import ModelMetadata, TensorMetadata
from app.contract.manifest import TensorSpec
from app.runtime.pipeline import Servable

PLATFORM = "onnxruntime_onnx"


def metadata(model: Servable, versions: Sequence[str]) -> ModelMetadata:
    graph = model.manifest.graphs["model"]
    return ModelMetadata(
        name=model.name,
        versions=sorted(versions, key=int),
        platform=PLATFORM,
        inputs=[_tensor(spec) for spec in graph.inputs],
        outputs=[_tensor(spec) for spec in graph.outputs],
    )


def configuration(model: Servable) -> dict[str, Any]:
    """Triton's: a batched model's shapes are those of a row. A model that writes runs a request as it comes, so it has no batches."""
    manifest, encoded_input = model.manifest, model.pipeline.encoded_input
    graph, batched = manifest.graphs["model"], not model.wide_runs
    fields: dict[str, Any] = {
        "name": model.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"all": {}},
        "max_batch_size": manifest.batching.max_batch_size if batched else 0,
        "input": [_configured(spec, batched) for spec in graph.inputs],
        "output": [_configured(spec, batched) for spec in graph.outputs],
    }
    if batched:
        fields["dynamic_batching"] = {"max_queue_delay_microseconds": manifest.batching.max_queue_delay_us}
    if encoded_input is not None:
        fields["parameters"] = {"encoded_input": {"string_value": encoded_input.name}}
    return fields


def _tensor(spec: TensorSpec) -> TensorMetadata:
    return TensorMetadata(name=spec.name, datatype=spec.datatype, shape=list(spec.shape))


def _configured(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    datatype = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return {"name": spec.name, "data_type": f"TYPE_{datatype}", "dims": list(spec.shape[1:] if batched else spec.shape)}
