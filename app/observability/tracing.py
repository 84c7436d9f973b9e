"""Where traces go: OpenTelemetry's SDK, set up by its own OTEL_* variables. The only file that needs the extra `otel`."""

from __future__ import annotations

import os

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from app import __version__


class WithoutQuery(SpanProcessor):
    """A query is for the server alone: it may hold what somebody typed."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if "url.query" in (span.attributes or {}):
            span.set_attribute("url.query", "")


def otlp_exporter() -> SpanExporter:
    """OTLP over HTTP to OTEL_EXPORTER_OTLP_ENDPOINT, http://localhost:4318 unless it is set."""
    return OTLPSpanExporter()


def tracer_provider(exporter: SpanExporter) -> TracerProvider:
    """Samples as OTEL_TRACES_SAMPLER says, every request unless it is set; sends in batches, from a thread of its own."""
    name = os.environ.get("OTEL_SERVICE_NAME", "axon")
    resource = Resource.create({"service.name": name, "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(WithoutQuery())
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
