"""What the metrics add to their library: equal values together, and gauges that two models share."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Gauge, Histogram

from app.runtime.metrics import RunHistogram, ServingMetrics, Share


@pytest.mark.parametrize("amount", [0.0, 0.5, 1.0, 1.5, 2.0, 7.0])
def test_equal_values_together_are_those_values_one_by_one(amount: float) -> None:
    together, apart = (kind("runs", "Runs", ("model",), buckets=(1, 2, 4), registry=None) for kind in (RunHistogram, Histogram))
    together.labels("a").observe_equal(amount, 3)
    together.labels("a").observe(1.5)
    for value in (amount, amount, amount, 1.5):
        apart.labels("a").observe(value)
    assert [family.samples for family in together.collect()] == [family.samples for family in apart.collect()]


def test_a_burst_of_steps_counts_as_its_runs() -> None:
    metrics = ServingMetrics()
    metrics.of("a", "1").steps(40, 3, 0.02)

    def sample(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"axon_{name}", {"model": "a", "version": "1"} | labels)

    assert sample("inference_exec_count_total") == sample("batch_size_count") == sample("compute_seconds_count", stage="infer") == 40
    assert sample("inference_count_total") == sample("batch_size_sum") == 120
    assert sample("compute_seconds_sum", stage="infer") == pytest.approx(0.02)
    assert sample("compute_seconds_bucket", stage="infer", le="0.001") == 40


def test_a_gauge_is_the_sum_of_its_shares() -> None:
    gauge = Gauge("live", "Live", registry=(registry := CollectorRegistry()))
    old, new = Share(gauge), Share(gauge)
    old.set(3)
    new.set(2)
    new.set(0)
    assert registry.get_sample_value("live") == 3
    old.set(1)
    assert registry.get_sample_value("live") == 1


def test_a_model_that_takes_anothers_place_leaves_none_of_its_providers() -> None:
    metrics = ServingMetrics()
    for actual in ("CPUExecutionProvider", "CUDAExecutionProvider"):
        metrics.admitted("a", "1", "CUDAExecutionProvider", actual)
    ((sample,),) = [family.samples for family in metrics.provider.collect()]
    assert sample.labels["actual"] == "CUDAExecutionProvider"
