"""Open-loop clients: requests come at their times, whether the earlier ones are answered or not, as those of strangers do.

A latency counts from the time at which the request was due, so that a client which falls behind hides nothing.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import quantiles

from bench.clients import HEAD_END, is_whole


@dataclass(frozen=True)
class Answered:
    """One request: its answer's status and head, and how long that took."""

    status: int
    head: bytes
    latency_s: float

    def header(self, name: str) -> str | None:
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.partition(b": ")
            if key.lower() == name.encode():
                return value.decode()
        return None


class _Connection(asyncio.Protocol):
    """Kept open: one request at a time."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._buffer = b""
        self._answer: asyncio.Future[bytes] | None = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._answer is not None and is_whole(self._buffer):
            self._answer.set_result(self._buffer)
            self._buffer, self._answer = b"", None

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None:
            self._answer.set_exception(ConnectionError(f"the server closed the connection: {error}"))

    async def ask(self, request: bytes) -> bytes:
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        self._transport.close()


class _Clients:
    """As many connections as there are requests on their way."""

    def __init__(self, port: int, request: bytes) -> None:
        self.answers: list[Answered] = []
        self._port = port
        self._request = request
        self._idle: list[_Connection] = []

    async def ask(self, due: float) -> None:
        connection = self._idle.pop() if self._idle else await self._connect()
        answer = await connection.ask(self._request)
        latency_s = time.perf_counter() - due
        head = answer.partition(HEAD_END)[0]
        self.answers.append(Answered(int(head.split()[1]), head, latency_s))
        self._idle.append(connection)

    async def _connect(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", self._port)
        return connection

    def close(self) -> None:
        for connection in self._idle:
            connection.close()


async def open_loop(port: int, request: bytes, per_s: float, seconds: float) -> list[Answered]:
    """`per_s` requests a second for so long, evenly spread, and every answer to them."""
    clients, start = _Clients(port, request), time.perf_counter()
    asking = []
    for number in range(round(per_s * seconds)):
        due = start + number / per_s
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        asking.append(asyncio.create_task(clients.ask(due)))
    await asyncio.gather(*asking)
    clients.close()
    return clients.answers


def percentile(latencies_s: list[float], percent: int) -> float:
    return quantiles(latencies_s, n=100, method="inclusive")[percent - 1]
