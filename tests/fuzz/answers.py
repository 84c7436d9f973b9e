"""HTTP/1.1 answers as they come off the wire, and what is wrong with one: nothing, if the server keeps its word."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from tests.api.error_shape import LIBRARY_TEXT

MAX_MESSAGE_CHARS = 400
HONEST_5XX = {503, 504}  # not ready or shutting down; the deadline passed
BEFORE_THE_APP = {400, 408, 431}  # what the protocol refuses, and hangs up: how much of the path it has read by then nobody can say
OURS = ("x-request-id", "x-content-type-options", "content-security-policy")  # on each answer that the application gave

_PLAIN_TARGET = re.compile(rb"/[A-Za-z0-9/._~-]*")


class NotHttp(Exception):
    """Bytes that are no answer of HTTP/1.1."""


@dataclass(frozen=True)
class Answer:
    """`body` is taken out of its chunks."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True  # False: the connection ended in its midst
    bodiless: bool = False  # as it must be: the answer to a HEAD, 304

    @property
    def media_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]


@dataclass
class AnswerReader:
    """Answers of one connection. `bodiless` says of each request, in their order, whether it was a HEAD."""

    bodiless: list[bool] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    _rest: bytes = b""

    def feed(self, data: bytes) -> None:
        """Raises NotHttp."""
        self._rest += data
        while (found := self._next(at_end=False)) is not None:
            self._take(found)

    def end(self) -> None:
        """The connection is closed: what is there is all there will be. Raises NotHttp."""
        if self._rest and (found := self._next(at_end=True)) is not None:
            self._take(found)

    def _take(self, answer: Answer) -> None:
        if answer.status >= 200:
            self.answers.append(answer)

    def _next(self, at_end: bool) -> Answer | None:
        head, separator, rest = self._rest.partition(b"\r\n\r\n")
        if not separator:
            if self._rest[:5] not in (b"HTTP/", b"HTTP/"[: len(self._rest)]):
                raise NotHttp(f"this is no status line: {self._rest[:60]!r}")
            return None
        status, headers = _head(head)
        index = len(self.answers)
        to_head = index < len(self.bodiless) and self.bodiless[index] and rest[:5] in (b"", b"HTTP/")  # the protocol's refusals have one
        no_body = status < 200 or status in (204, 304) or to_head
        if no_body:
            self._rest = rest
            return Answer(status, headers, b"", bodiless=True)
        body, size = _chunks(rest) if headers.get("transfer-encoding") == "chunked" else _counted(headers, rest)
        if size is None:
            if not at_end:
                return None
            self._rest = b""
            return Answer(status, headers, body, whole=False)
        self._rest = rest[size:]
        return Answer(status, headers, body)


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    found = re.fullmatch(r"HTTP/1\.1 ([1-5][0-9][0-9]) [ -~]*", lines[0])
    if found is None:
        raise NotHttp(f"this is no status line: {lines[0][:60]!r}")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise NotHttp(f"this is no header: {line[:60]!r}")
        if name.lower() in headers and name.lower() in ("content-length", "content-type", "x-request-id"):
            raise NotHttp(f"{name} comes twice")
        headers[name.lower()] = value.strip()
    return int(found[1]), headers


def _counted(headers: dict[str, str], rest: bytes) -> tuple[bytes, int | None]:
    """(body, its bytes on the wire, None if more is to come)"""
    if not headers.get("content-length", "").isdigit():
        raise NotHttp("an answer with neither Content-Length nor chunks")
    size = int(headers["content-length"])
    return rest[:size], size if len(rest) >= size else None


def _chunks(rest: bytes) -> tuple[bytes, int | None]:
    body, start = b"", 0
    while (line_end := rest.find(b"\r\n", start)) >= 0:
        try:
            size = int(rest[start:line_end], 16)
        except ValueError:
            raise NotHttp(f"this is no size of a chunk: {rest[start:line_end][:40]!r}") from None
        data_end = line_end + 2 + size
        if len(rest) < data_end + 2:
            break
        body += rest[line_end + 2 : data_end]
        start = data_end + 2
        if size == 0:
            return body, start
    return body, None


def problems(answer: Answer, target: bytes | None = None) -> list[str]:
    """What is wrong with an answer to a request for `target`; None where nobody can say what the server read there."""
    found = []
    if answer.status >= 500 and answer.status not in HONEST_5XX:
        found.append(f"status {answer.status}")
    found += [f"no header {name}, status {answer.status}" for name in OURS if name not in answer.headers]
    if answer.whole and not answer.bodiless:
        by_protocol = answer.status in BEFORE_THE_APP and answer.headers.get("connection") == "close"
        found += _problems_of_body(answer, None if by_protocol else _plain_path(target))
    return found


def _plain_path(target: bytes | None) -> str | None:
    path = (target or b"").partition(b"?")[0]
    return path.decode() if _PLAIN_TARGET.fullmatch(path) else None


def _problems_of_body(answer: Answer, path: str | None) -> list[str]:
    if answer.media_type == "text/event-stream":
        return ["an error of ours in a stream"] if b"its log has the details" in answer.body else []
    if answer.status < 400:
        return _problems_of_success(answer)
    if answer.media_type != "application/json":
        return [f"an error that is {answer.media_type or 'of no type'}, not JSON: {answer.body[:80]!r}"]
    try:
        error = json.loads(answer.body)
    except ValueError:
        return ["an error that is not the JSON it says it is"]
    return _problems_of_error(error, path)


def _problems_of_success(answer: Answer) -> list[str]:
    if answer.media_type != "application/json" or "content-encoding" in answer.headers:
        return []
    try:
        json.loads(answer.body)
    except ValueError:
        return ["an answer that is not the JSON it says it is"]
    return []


def _problems_of_error(error: Any, path: str | None) -> list[str]:
    content = error.get("error") if isinstance(error, dict) and set(error) == {"error"} else None
    message = content.get("message") if isinstance(content, dict) else content
    if not isinstance(message, str):
        return [f"an error in a strange shape: {str(error)[:200]}"]
    found = []
    if path is not None and not _fits(path, content):
        found.append(f"an error in the shape of another path: {str(error)[:200]}")
    if len(message) > MAX_MESSAGE_CHARS:
        found.append(f"a message of {len(message)} characters")
    if leak := LIBRARY_TEXT.search(message):
        found.append(f"a message with a library's words, {leak[0]!r}: {message[:200]}")
    return found


WITH_CODE = ("/v1/completions", "/v1/chat", "/v1/embeddings", "/v1/responses", "/v1/models")


def _fits(path: str, content: Any) -> bool:
    """Whether the error has the shape of this path's face."""
    if path == "/v2" or path.startswith("/v2/"):
        return isinstance(content, str)
    with_code = any(path == face or path.startswith(f"{face}/") for face in WITH_CODE)
    return isinstance(content, dict) and set(content) == {"type", "message", "param"} | ({"code"} if with_code else set())
