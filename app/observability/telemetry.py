"""What FastAPI may tell OpenTelemetry. It looks for it by itself; here it is told, and by default it may tell nothing."""

from __future__ import annotations

from fastapi.telemetry import TelemetryConfig
from opentelemetry.trace import TracerProvider


def telemetry(provider: TracerProvider | None, exempt: frozenset[str]) -> TelemetryConfig:
    """A span a request if there is a provider, but for `exempt` paths; never its logs, which hold what clients sent."""
    return {
        "tracer_provider": provider,
        "tracing": provider is not None,
        "metrics": False,
        "logs": False,
        "operation_spans": False,
        "auto_configure": False,
        "exclude": lambda scope: scope["path"] in exempt,
    }
