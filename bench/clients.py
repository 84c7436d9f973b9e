"""Closed-loop clients: each sends its next request when the answer to the last one is there, over one kept connection.

They share the machine with the server, so they do as little as they can: bytes made in advance, no HTTP library,
answers put aside and checked when the clock has stopped.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field

HEAD_END = b"\r\n\r\n"


class WrongAnswer(Exception):
    """An answer that is not 200, or not the one that the direct call gives: the measurement counts for nothing."""


@dataclass
class Load:
    """What all clients of one measurement send, and what they saw. Only answers that fall into the window count."""

    request: bytes
    start: float  # time.perf_counter()
    end: float
    latencies_s: list[float] = field(default_factory=list)
    settled_s: list[float] = field(default_factory=list)  # latencies in the window or not, but for each client's first: it met no queue
    answers: list[bytes] = field(default_factory=list)

    def count(self, sent: float, received: float, answer: bytes, first: bool) -> None:
        self.answers.append(answer)
        if not first:
            self.settled_s.append(received - sent)
        if self.start <= received < self.end:
            self.latencies_s.append(received - sent)


class Client(asyncio.Protocol):
    """One connection, one request at a time, until the load's end."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._sent = 0.0
        self._answered = 0
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not is_whole(self._buffer):
            return
        received = time.perf_counter()
        self._load.count(self._sent, received, self._buffer, first=self._answered == 0)
        self._answered += 1
        self._buffer = b""
        if received < self._load.end:
            self._send()
        else:
            self._transport.close()
            self.finished.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_exception(WrongAnswer(f"the server closed the connection: {error}"))

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._load.request)


def is_whole(answer: bytes) -> bool:
    """Head and body are there, by the answer's own Content-Length."""
    head, separator, body = answer.partition(HEAD_END)
    if not separator:
        return False
    _, _, after = head.lower().partition(b"content-length: ")
    return len(body) >= int(after.partition(b"\r\n")[0])


async def closed_loop(port: int, request: bytes, clients: int, seconds: float, warm_up_s: float) -> Load:
    """`clients` connections at once for `warm_up_s + seconds`; only the last `seconds` count. Raises WrongAnswer."""
    start = time.perf_counter() + warm_up_s
    load = Load(request, start, start + seconds)
    loop = asyncio.get_running_loop()
    connections = [await loop.create_connection(lambda: Client(load), "127.0.0.1", port) for _ in range(clients)]
    await asyncio.gather(*(client.finished for _, client in connections))
    return load


def check(load: Load, expected: dict[str, float], atol: float = 1e-4) -> None:
    """Every answer is a 200 that holds the direct call's probabilities. Raises WrongAnswer."""
    for answer in load.answers:
        head, _, body = answer.partition(HEAD_END)
        if not head.startswith(b"HTTP/1.1 200 "):
            raise WrongAnswer(head.split(b"\r\n")[0].decode())
        probabilities = {prediction["label"]: prediction["probability"] for prediction in json.loads(body)["predictions"]}
        if probabilities.keys() != expected.keys() or any(abs(probabilities[label] - expected[label]) > atol for label in expected):
            raise WrongAnswer(f"the server answers {probabilities}, the direct call {expected}")


def post(path: str, content_type: str, body: bytes) -> bytes:
    """A whole HTTP/1.1 request, ready to be written."""
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
