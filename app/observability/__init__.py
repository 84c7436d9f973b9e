"""What an operator sees of requests: an id on every answer, one access log line each, log lines as text or JSON, traces."""

from app.observability.logs import configure_logging
from app.observability.request_context import CLIENT, RequestContext, request_id_of

__all__ = ["CLIENT", "RequestContext", "configure_logging", "request_id_of"]
