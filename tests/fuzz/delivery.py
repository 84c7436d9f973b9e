"""How a request goes over the wire, and what comes back: whole, in drops, in chunks, with others behind it, or not to its end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal

from tests.fuzz.answers import Answer, AnswerReader, NotHttp
from tests.fuzz.requests import Request

QUIET_S = 0.01  # after the last answer that was expected: whatever else comes is not waited for
READ_BYTES = 65_536

Ending = Literal["read", "leave", "reset", "half-close"]


@dataclass(frozen=True)
class Case:
    """What one client does: sends each piece, waits before the next, and then reads or leaves. All that is needed to do it again."""

    name: str
    pieces: tuple[tuple[bytes, float], ...]  # (bytes, seconds before them)
    ending: Ending = "read"
    targets: tuple[bytes | None, ...] = (None,)  # of the requests; None: nobody can say what the server reads there
    heads: tuple[bool, ...] = (False,)
    slowly: bool = False  # reads its answer in drops

    def save(self, file: Path, problems: list[str], answers: list[Answer]) -> None:
        heard = [{"status": answer.status, "headers": answer.headers, "body": repr(answer.body[:2000])} for answer in answers]
        pieces = [[base64.b64encode(data).decode(), pause_s] for data, pause_s in self.pieces]
        targets = [None if target is None else target.decode("latin-1") for target in self.targets]
        fields = {
            "name": self.name,
            "problems": problems,
            "answers": heard,
            "ending": self.ending,
            "slowly": self.slowly,
            "targets": targets,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(fields | {"heads": self.heads, "pieces": pieces}, indent=1), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> Case:
        fields: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        pieces = tuple((base64.b64decode(data), float(pause_s)) for data, pause_s in fields["pieces"])
        targets = tuple(None if target is None else target.encode("latin-1") for target in fields["targets"])
        return cls(fields["name"], pieces, fields["ending"], targets, tuple(fields["heads"]), fields["slowly"])


def deliver(dice: Random, name: str, request: Request) -> Case:
    """One request, in one of the ways that clients have."""
    known = (request.target,), (request.method == b"HEAD",)
    way = dice.choices(["whole", "pieces", "chunks", "broken chunks", "left", "stalled", "slow reader", "half-close"], _WEIGHTS)[0]
    data = request.encoded()
    if way == "chunks":
        data = request.having((b"Transfer-Encoding", b"chunked")).encoded(with_length=False)
        data = data[: len(data) - len(request.body)] + chunked(dice, request.body)
    if way == "broken chunks":
        data = request.having((b"Transfer-Encoding", b"chunked")).encoded(with_length=False)
        data = data[: len(data) - len(request.body)] + broken_chunks(dice, request.body)
        known = (None,), (request.method == b"HEAD",)
    pieces = in_pieces(dice, data) if way in ("pieces", "chunks", "broken chunks") else ((data, 0.0),)
    if way == "left":
        cut = data[: dice.randrange(1, len(data) + 1)] if dice.random() < 0.6 else data
        late = ((b"", dice.choice([0.001, 0.01, 0.1])),)
        return Case(f"{name}, {way}", (*in_pieces(dice, cut), *late), dice.choice(["leave", "reset"]), *known)
    if way == "stalled":
        pieces = in_pieces(dice, data[: dice.randrange(len(data))])
    return Case(f"{name}, {way}", pieces, "half-close" if way == "half-close" else "read", *known, slowly=way == "slow reader")


_WEIGHTS = [50, 14, 10, 8, 10, 1, 4, 3]


def pipelined(dice: Random, name: str, requests: list[Request]) -> Case:
    """Several requests at once on one connection."""
    data = b"".join(request.encoded() for request in requests)
    targets, heads = tuple(request.target for request in requests), tuple(request.method == b"HEAD" for request in requests)
    ending: Ending = "leave" if dice.random() < 0.2 else "read"
    return Case(f"{name}, {len(requests)} at once", in_pieces(dice, data), ending, targets, heads)


def in_pieces(dice: Random, data: bytes) -> tuple[tuple[bytes, float], ...]:
    """As it is, or cut at random places; some pauses are long enough for the server to see a piece alone."""
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.choice([0, 1, 2, 8, 30])))
    starts, ends = [0, *cuts], [*cuts, len(data)]
    return tuple((data[start:end], dice.choice([0, 0, 0.001, 0.005])) for start, end in zip(starts, ends, strict=True))


def chunked(dice: Random, body: bytes) -> bytes:
    size = dice.choice([1, 3, 100, 10_000, 1_000_000])
    size = max(size, len(body) // 2000)
    extension = dice.choice([b"", b"", b";a=b", b';a="' + b"x" * 300 + b'"'])
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    trailer = dice.choice([b"", b"", b"X-After: y\r\n"])
    return b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"


def broken_chunks(dice: Random, body: bytes) -> bytes:
    data = chunked(dice, body)
    first_line = data.find(b"\r\n")
    sizes = [
        b"-1",
        b"+5",
        b"0x5",
        b"ffffffffffffffff",
        b"fffffffffffffffff",
        b"7fffffff",
        b"g",
        b"",
        b" 5",
        b"5 ",
        b"5\t;",
        b"1" * 3000,
        b"\xff",
    ]
    match dice.randrange(6):
        case 0:
            return dice.choice(sizes) + data[first_line:]
        case 1:
            return data[: data.rfind(b"0\r\n")]
        case 2:
            return data.replace(b"\r\n", dice.choice([b"\n", b"\r", b""]), dice.choice([1, 2, -1]))
        case 3:
            return data + dice.choice([b"rubbish", b"\x00" * 50, b"GET / HTTP/1.1\r\n", data])
        case 4:
            return data[:-2] + b"".join(b"X-%d: %s\r\n" % (number, b"y" * 900) for number in range(dice.choice([3, 200]))) + b"\r\n"
    return data[: dice.randrange(len(data))]


@dataclass
class Heard:
    """What came of a case."""

    answers: list[Answer] = field(default_factory=list)
    problem: str | None = None
    closed: bool = False  # by the server, or cut


async def converse(port: int, case: Case, patience_s: float) -> Heard:
    """Do what the case says. Who reads hears an answer or the end of the connection within `patience_s`, or it is a hang."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), patience_s)
    heard, answers = Heard(), AnswerReader(list(case.heads))
    heard.answers = answers.answers
    sending = asyncio.ensure_future(_send(writer, case))
    try:
        async with asyncio.timeout(patience_s + sum(pause_s for _, pause_s in case.pieces)):
            if case.ending in ("leave", "reset"):
                await sending
            else:
                heard.closed = await _read(reader, answers, case)
    except NotHttp as error:
        heard.problem = str(error)
    except TimeoutError:
        heard.problem = f"neither an answer nor the end of the connection within {patience_s:g} s"
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        _close(writer, case.ending == "reset")
    return heard


async def _send(writer: asyncio.StreamWriter, case: Case) -> None:
    with contextlib.suppress(ConnectionError):
        for data, pause_s in case.pieces:
            if pause_s:
                await asyncio.sleep(pause_s)
            writer.write(data)
            await writer.drain()
        if case.ending == "half-close":
            writer.write_eof()


async def _read(reader: asyncio.StreamReader, answers: AnswerReader, case: Case) -> bool:
    """Until as many answers are there as requests, or the server closes; whether it did."""
    while True:
        wait_s = QUIET_S if len(answers.answers) >= len(case.targets) else None
        try:
            data = await asyncio.wait_for(reader.read(128 if case.slowly else READ_BYTES), wait_s)
        except TimeoutError:
            if wait_s is None:
                raise
            return False
        except ConnectionError:
            return True
        if not data:
            answers.end()
            return True
        answers.feed(data)
        if case.slowly:
            await asyncio.sleep(0.002)


def _close(writer: asyncio.StreamWriter, reset: bool) -> None:
    if reset:
        linger = struct.pack("ii", 1, 0)
        with contextlib.suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
