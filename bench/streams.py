"""Clients that read streams: raw bytes with their times, taken apart when the clock has stopped."""

from __future__ import annotations

import asyncio
import json
import re
import time
from bisect import bisect_left
from dataclasses import dataclass, field

from bench.clients import HEAD_END, WrongAnswer, post
from bench.step_loop import Writing

_EVENT = re.compile(rb"data: (\{.*?\})\n\n")
PROBE_PAUSE_S = 0.15  # so that the probes are a small part of the load
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass
class Answer:
    """One streamed answer: its bytes, and when how many of them were there."""

    sent: float  # time.perf_counter()
    data: bytearray = field(default_factory=bytearray)
    arrivals: list[tuple[int, float]] = field(default_factory=list)  # (bytes so far, time)

    def pieces(self) -> list[tuple[float, str]]:
        """(arrival, text) of each event. Raises WrongAnswer unless it is a 200 without an error."""
        if not self.data.startswith(b"HTTP/1.1 200 "):
            raise WrongAnswer(bytes(self.data[:300]).decode())
        pieces = []
        for event in _EVENT.finditer(bytes(self.data)):
            _, arrival = self.arrivals[bisect_left(self.arrivals, event.end(), key=lambda each: each[0])]
            fields = json.loads(event[1])
            pieces.append((arrival, fields["choices"][0]["text"]))
        return pieces


class StreamClient(asyncio.Protocol):
    """One connection: sends its request again as soon as the stream has ended, until `end`."""

    def __init__(self, request: bytes, end: float, pause_s: float = 0.0) -> None:
        self.answers: list[Answer] = []
        self._request = request
        self._end = end
        self._pause_s = pause_s
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        now, answer = time.perf_counter(), self.answers[-1]
        answer.data += data
        answer.arrivals.append((len(answer.data), now))
        if now >= self._end:
            self._transport.close()
        elif answer.data.endswith(_LAST_CHUNK):
            asyncio.get_running_loop().call_later(self._pause_s, self._send)

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() >= self._end:
            self.finished.set_result(None)
        else:
            answer = bytes(self.answers[-1].data[:300])
            self.finished.set_exception(WrongAnswer(f"the server closed the connection: {answer!r}"))

    def _send(self) -> None:
        if not self._transport.is_closing():
            self.answers.append(Answer(time.perf_counter()))
            self._transport.write(self._request)


@dataclass(frozen=True, slots=True)
class Streamed:
    """What the clients of one measurement saw in its window."""

    characters_per_s: float
    first_token_s: list[float]  # of the probes: short requests that come while the streams run


async def read_streams(
    port: int, path: str, model: str, writing: Writing, expected: list[str], seconds: float, probe: Writing | None = None
) -> Streamed:
    """One stream for each expected text at once. Raises WrongAnswer when a text is another one."""
    start = time.perf_counter() + 0.5
    end = start + seconds
    streams = [await _connect(port, path, model, writing, seed, end) for seed in range(len(expected))]
    probes = [await _connect(port, path, model, probe, 0, end, PROBE_PAUSE_S)] if probe else []
    await asyncio.gather(*(client.finished for client in (*streams, *probes)))
    characters = 0
    for client, text in zip(streams, expected, strict=True):
        for answer in client.answers:
            pieces = answer.pieces() if HEAD_END in answer.data else []
            if not text.startswith("".join(piece for _, piece in pieces)):
                raise WrongAnswer("a stream differs from the bare loop's text of the same seed")
            characters += sum(len(piece) for arrival, piece in pieces if start <= arrival < end)
    answers = [answer for client in probes for answer in client.answers if answer.sent >= start and HEAD_END in answer.data]
    first = [pieces[0][0] - answer.sent for answer in answers if (pieces := answer.pieces())]
    return Streamed(characters / seconds, first)


async def _connect(port: int, path: str, model: str, writing: Writing, seed: int, end: float, pause_s: float = 0.0) -> StreamClient:
    fields = {
        "model": model,
        "prompt": writing.prompt,
        "max_tokens": writing.max_tokens,
        "temperature": writing.temperature,
        "seed": seed,
        "stream": True,
    }
    request = post(path, "application/json", json.dumps(fields).encode())
    loop = asyncio.get_running_loop()
    _, client = await loop.create_connection(lambda: StreamClient(request, end, pause_s), "127.0.0.1", port)
    return client
