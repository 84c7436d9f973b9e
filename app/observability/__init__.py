"""What an operator sees of requests: an id on every answer, one access log line each, log lines as text or JSON, traces."""

from app.observability.logs import configure_logging
from app.observability.request_context import CLIENT, MAX_PATH_CHARS, RequestContext, log_access, request_id_of

__all__ = ["CLIENT", "MAX_PATH_CHARS", "RequestContext", "configure_logging", "log_access", "request_id_of"]
