"""What is counted while models run, in Prometheus' terms. One registry an app: nothing global."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, Summary, disable_created_metrics

from app.errors import ClientLeft, DeadlineExceeded, ModelNotReady, QueueFull, ServingError
from app.runtime.stages import take_decoding_s

Stage = Literal["decode", "preprocess", "infer", "postprocess"]

disable_created_metrics()  # type: ignore[no-untyped-call] # when a series began: twice the page, and nobody asks

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64)


REASONS = ("rejected", "timeout", "cancelled", "invalid", "backend")  # why a request failed


class RunHistogram(Histogram):
    """Takes equal values together: a burst of steps has hundreds, which one by one would cost the event loop a fiftieth of its time."""

    def observe_equal(self, amount: float, count: int) -> None:
        self._sum.inc(amount * count)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(count)


class Share:
    """What one model adds to a gauge: the one that it replaces may still work, under the same name and version."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._value = 0

    def set(self, value: int) -> None:
        self._gauge.inc(value - self._value)
        self._value = value


class ServingMetrics:
    """Counters and histograms, labelled by model and version. Histograms of time are in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, open files
        model = ("model", "version")
        self.success = Counter("axon_inference_request_success", "Requests answered", model, registry=self.registry)
        self.failure = Counter("axon_inference_request_failure", "Requests failed", (*model, "reason"), registry=self.registry)
        self.failure_s = Counter("axon_inference_failure_seconds", "Time of requests that failed", model, registry=self.registry)
        self.rows = Counter("axon_inference_count", "Rows that ran", model, registry=self.registry)
        self.batches = Counter("axon_inference_exec_count", "Batches that ran", model, registry=self.registry)
        self.pending = Gauge("axon_pending_requests", "Requests accepted and not answered", model, registry=self.registry)
        self.queue_s = Histogram("axon_queue_seconds", "Wait of a batch's oldest row", model, buckets=_SECONDS, registry=self.registry)
        self.request_wait_s = Summary("axon_request_wait_seconds", "Wait of a request for its first run", model, registry=self.registry)
        self.request_run_s = Summary(
            "axon_request_run_seconds", "From a request's first run to its last output", model, registry=self.registry
        )
        self.compute_s = RunHistogram("axon_compute_seconds", "Work by stage", (*model, "stage"), buckets=_SECONDS, registry=self.registry)
        self.request_s = Histogram("axon_request_seconds", "Whole request in the server", model, buckets=_SECONDS, registry=self.registry)
        self.batch_size = RunHistogram("axon_batch_size", "Rows in a batch", model, buckets=_ROWS, registry=self.registry)
        self.first_token_s = Histogram(
            "axon_time_to_first_token_seconds", "From request to first token", model, buckets=_SECONDS, registry=self.registry
        )
        self.tokens = Counter("axon_tokens_generated", "Tokens generated", model, registry=self.registry)
        self.live_sequences = Gauge("axon_live_sequences", "Sequences that hold a slot", model, registry=self.registry)
        self.waiting_sequences = Gauge("axon_waiting_sequences", "Sequences that wait for a slot", model, registry=self.registry)
        self.stuck_runs = Counter("axon_stuck_runs", "Runs that took too long and were given up", model, registry=self.registry)
        self.model_ready = Gauge("axon_model_ready", "1 when the model is warm and well", model, registry=self.registry)
        self.provider = Gauge(
            "axon_execution_provider_info", "Provider asked for and given", (*model, "requested", "actual"), registry=self.registry
        )

    def of(self, name: str, version: str) -> ModelMetrics:
        return ModelMetrics(self, name, version)

    def admitted(self, name: str, version: str, requested: str, actual: str) -> None:
        """`requested` and `actual` are providers."""
        self.provider.remove_by_labels({"model": name, "version": version})  # of the model that it replaces
        self.provider.labels(name, version, requested, actual).set(1)
        self.model_ready.labels(name, version).set(1)

    def unloaded(self, name: str, version: str) -> None:
        self.model_ready.labels(name, version).set(0)
        self.provider.remove_by_labels({"model": name, "version": version})

    def refused(self, name: str, version: str, error: ServingError) -> None:
        """A request to this model failed before the model heard of it; one that the model has counted is not counted again."""
        if not error.counted:
            self.failure.labels(name, version, _reason(error)).inc()


class ModelMetrics:
    """The metrics of one model, its labels looked up once and not at every request."""

    def __init__(self, metrics: ServingMetrics, name: str, version: str) -> None:
        labels = (name, version)
        self._metrics = metrics
        self._labels = labels
        self._success = metrics.success.labels(*labels)
        self._pending = metrics.pending.labels(*labels)
        self._failure_s = metrics.failure_s.labels(*labels)
        for reason in REASONS:
            metrics.failure.labels(*labels, reason)  # from the start at 0: a rate over a first failure would miss it
        self.request_s = metrics.request_s.labels(*labels)
        self.first_token_s = metrics.first_token_s.labels(*labels)
        self.tokens = metrics.tokens.labels(*labels)
        self.stuck_runs = metrics.stuck_runs.labels(*labels)
        self.ready = metrics.model_ready.labels(*labels)
        self.live_sequences = metrics.live_sequences.labels(*labels)
        self.waiting_sequences = metrics.waiting_sequences.labels(*labels)
        self._rows = metrics.rows.labels(*labels)
        self._batches = metrics.batches.labels(*labels)
        self._batch_size = metrics.batch_size.labels(*labels)
        self._request_wait_s = metrics.request_wait_s.labels(*labels)
        self._request_run_s = metrics.request_run_s.labels(*labels)
        self._queue_s = metrics.queue_s.labels(*labels)
        self._compute_s = {stage: metrics.compute_s.labels(*labels, stage) for stage in get_args(Stage)}

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request as pending while it is here, and by its outcome when it leaves."""
        self._pending.inc()
        started = time.monotonic()
        name, version = self._labels
        _tell_trace(model=name, version=version)
        try:
            yield
        except BaseException as error:
            reason = _reason(error)
            self._metrics.failure.labels(name, version, reason).inc()
            self._failure_s.inc(time.monotonic() - started)
            _tell_trace(failure=reason)
            if isinstance(error, ServingError):
                error.counted = True
            raise
        else:
            self._success.inc()
        finally:
            self._pending.dec()

    def computed(self, stage: Stage, seconds: float) -> None:
        self._compute_s[stage].observe(seconds)

    @contextmanager
    def preprocessing(self) -> Iterator[None]:
        """What a thread does to make a request's rows; what of it was decoding is a stage of its own."""
        take_decoding_s()  # of a request that failed here
        started = time.monotonic()
        yield
        decode_s = take_decoding_s()
        if decode_s:
            self.computed("decode", decode_s)
        self.computed("preprocess", time.monotonic() - started - decode_s)

    def answered(self, started: float, prepared: float, ran: float, ended: float) -> None:
        """time.monotonic() when a request came, had its rows, had its outputs, and had its answer."""
        self.computed("postprocess", ended - ran)
        self.request_s.observe(ended - started)
        _tell_trace(preprocess_ms=(prepared - started) * 1e3, infer_ms=(ran - prepared) * 1e3, postprocess_ms=(ended - ran) * 1e3)

    def batch(self, size: int, oldest_wait_s: float, run_s: float) -> None:
        self.steps(1, size, run_s)
        self._queue_s.observe(oldest_wait_s)

    def ran(self, wait_s: float, run_s: float) -> None:
        """One request, from the queue to its first run, and from there to its last output."""
        self._request_wait_s.observe(wait_s)
        self._request_run_s.observe(run_s)

    def steps(self, count: int, size: int, run_s: float) -> None:
        """`count` runs of `size` rows each, that together took `run_s`."""
        self._rows.inc(count * size)
        self._batches.inc(count)
        self._batch_size.observe_equal(size, count)
        self._compute_s["infer"].observe_equal(run_s / count, count)


def _tell_trace(**attributes: str | float) -> None:
    """Of the request that is being answered, if it has one."""
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attributes({f"axon.{name}": value for name, value in attributes.items()})


def _reason(error: BaseException) -> str:
    """The failure's label in the metrics, one of REASONS."""
    match error:
        case QueueFull() | ModelNotReady():
            return "rejected"
        case DeadlineExceeded():
            return "timeout"
        case asyncio.CancelledError() | ClientLeft():
            return "cancelled"
        case ServingError() if error.status < 500:
            return "invalid"
        case _:
            return "backend"
