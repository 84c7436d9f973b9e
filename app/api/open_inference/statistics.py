"""Triton's statistics, from the metrics that are measured anyway."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import CollectorRegistry

from app.api.open_inference.schemas import Duration, InferenceStatistics, ModelStatistics, Statistics
from app.runtime.pipeline import Servable

NS = 1_000_000_000  # in a second


def statistics(registry: CollectorRegistry, models: Iterable[Servable]) -> Statistics:
    samples = _Samples(registry)
    return Statistics(model_stats=[_of_model(samples, model.name, model.manifest.version) for model in models])


class _Samples:
    """The registry's samples by name, model and version; those that differ in anything but the stage are added up."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._values: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for family in registry.collect():
            for sample in family.samples:
                labels = sample.labels
                self._values[sample.name, labels.get("model", ""), labels.get("version", ""), labels.get("stage", "")] += sample.value

    def count(self, name: str, *labels: str, stage: str = "") -> int:
        return int(self._values[name, *labels, stage])

    def duration(self, count: str, seconds: str, *labels: str, stage: str = "") -> Duration:
        return Duration(count=self.count(count, *labels, stage=stage), ns=round(self._values[seconds, *labels, stage] * NS))


def _of_model(samples: _Samples, *labels: str) -> ModelStatistics:
    def stage(name: str) -> Duration:
        return samples.duration("axon_compute_seconds_count", "axon_compute_seconds_sum", *labels, stage=name)

    name, version = labels
    return ModelStatistics(
        name=name,
        version=version,
        inference_count=samples.count("axon_inference_count_total", *labels),
        execution_count=samples.count("axon_inference_exec_count_total", *labels),
        inference_stats=InferenceStatistics(
            success=samples.duration("axon_inference_request_success_total", "axon_request_seconds_sum", *labels),
            fail=samples.duration("axon_inference_request_failure_total", "axon_inference_failure_seconds_total", *labels),
            queue=samples.duration("axon_request_wait_seconds_count", "axon_request_wait_seconds_sum", *labels),
            compute_input=Duration(count=stage("preprocess").count, ns=stage("preprocess").ns + stage("decode").ns),
            compute_infer=samples.duration("axon_request_run_seconds_count", "axon_request_run_seconds_sum", *labels),
            compute_output=stage("postprocess"),
        ),
    )
