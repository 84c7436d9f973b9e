"""The server's log, on standard error: one line an event, as text or as a JSON object. Whatever is logged here comes out so."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import warnings
from contextvars import Context, ContextVar
from datetime import UTC, datetime
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Literal, TextIO

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")  # of the request that is being answered
FIELDS = "fields"  # the attribute of a record that has more to say than a sentence

MAX_WAITING = 10_000  # lines, of a few hundred bytes each
FLUSH_S = 1.0  # for whoever reads the log, when the server ends

logger = logging.getLogger("axon")


class TextFormatter(logging.Formatter):
    """For people. What a client sent stands in quotes, its line ends escaped: it cannot forge a line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s%(details)s")

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, FIELDS, {})
        if request_id := REQUEST_ID.get():
            fields = {"request_id": request_id} | fields
        record.details = "".join(f" {name}={value!r}" if isinstance(value, str) else f" {name}={value}" for name, value in fields.items())
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        if record.name == "py.warnings":  # Python writes the line of code below the warning
            record.message = " ".join(record.message.split())
        return super().formatMessage(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return _time(record)


class JsonFormatter(logging.Formatter):
    """For machines: an exception is a field, its traceback one string."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line |= getattr(record, FIELDS, {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class PatientHandler(logging.StreamHandler[TextIO]):
    """Writes from a thread of its own: a reader that stalls stops no request. Lines beyond MAX_WAITING are lost, and counted."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._lines: SimpleQueue[str | threading.Event] = SimpleQueue()
        self._lost = 0
        threading.Thread(target=self._write, name="axon-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        if self._lines.qsize() >= MAX_WAITING:
            self._lost += 1
            return
        if self._lost:
            told = logger.makeRecord(logger.name, logging.WARNING, "", 0, "%d lines of the log are lost: nobody read", (self._lost,), None)
            self._lines.put(Context().run(self.format, told))  # of no one request
            self._lost = 0
        try:
            self._lines.put(self.format(record))
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Wait until all is written, or for FLUSH_S."""
        self._lines.put(written := threading.Event())
        written.wait(FLUSH_S)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            if isinstance(line, threading.Event):
                line.set()
                continue
            data = f"{line}\n".encode(errors="backslashreplace")
            try:
                while data:  # not by the stream: it has a lock, which Python wants when it ends
                    data = data[os.write(self.stream.fileno(), data) :]
            except (OSError, ValueError):
                pass  # nobody reads any more


def configure_logging(log_format: Literal["text", "json"]) -> None:
    """Everything to standard error in one form: ours, uvicorn's, the libraries' warnings, and what nobody caught."""
    handler = PatientHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("axon", "uvicorn"):
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # a malformed form is its sender's matter
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # so are a picture's odd metadata
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_of_thread


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logger.critical("the server ends: nobody caught %s", kind.__name__, exc_info=(kind, error, traceback))


def _log_uncaught_of_thread(arguments: threading.ExceptHookArgs) -> None:
    error = arguments.exc_value
    if error is not None:
        logger.critical("a thread ends: nobody caught %s", type(error).__name__, exc_info=error)
