"""Valid requests, broken: each function takes dice and gives the same for the same dice."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from tests.fuzz.dictionary import HEADERS, JSON_VALUES, METHODS, OPTIONS, TARGETS, WORDS
from tests.fuzz.requests import BOUNDARY, JSON_BYTES, Request

Break = Callable[[Random, Request], Request]


def flip(dice: Random, data: bytes) -> bytes:
    """Bits, bytes or whole pieces: turned, taken out, put in, doubled, cut off."""
    content = bytearray(data or b"\x00")
    for _ in range(dice.choice([1, 1, 2, 4, 16])):
        place = dice.randrange(len(content) or 1)
        end = place + dice.choice([1, 2, 4, 64])
        match dice.randrange(7):
            case 0:
                content[place : place + 1] = bytes([content[place] ^ (1 << dice.randrange(8))]) if content else b""
            case 1:
                content[place : place + 1] = bytes([dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])])
            case 2:
                del content[place:end]
            case 3:
                content[place:place] = dice.randbytes(dice.choice([1, 4, 200]))
            case 4:
                content[place:place] = content[place:end] * dice.choice([1, 3, 50])
            case 5:
                other = dice.randrange(len(content) or 1)
                content[place:end] = content[other : other + end - place]
            case 6:
                content[place : place + 4] = dice.choice(
                    [b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\x00\x01\x00\x00"]
                )
    return bytes(content[: dice.randrange(len(content) + 1)] if dice.random() < 0.15 else content)


def broken_image(dice: Random, data: bytes) -> bytes:
    """Bytes at random, or a head that says something else of the picture and is right otherwise."""
    if data.startswith(b"\x89PNG") and dice.random() < 0.6:
        return _png(dice, data)
    if data.startswith(b"\xff\xd8") and dice.random() < 0.4:
        return _jpeg(dice, data)
    if data.startswith(b"RIFF") and dice.random() < 0.4:
        place = dice.choice([4, 16, 20, 24, 26, 27, 28, 30])
        return data[:place] + dice.randbytes(3) + data[place + 3 :]
    return flip(dice, data)


def _png(dice: Random, data: bytes) -> bytes:
    """One chunk changed, doubled, left out or put in, its checksum right."""
    chunks, start = [], 8
    while start + 8 <= len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        chunks.append((data[start + 4 : start + 8], data[start + 8 : start + 8 + size]))
        start += size + 12
    if not chunks:
        return flip(dice, data)
    place = dice.randrange(len(chunks)) if dice.random() < 0.5 else 0
    kind, content = chunks[place]
    match dice.randrange(5):
        case 0:
            chunks[place] = (kind, flip(dice, content))
        case 1:
            chunks.insert(place, chunks[dice.randrange(len(chunks))])
        case 2:
            del chunks[place]
        case 3:
            bomb = zlib.compress(bytes(dice.choice([100, 5_000_000])))
            new = [(b"iCCP", b"x\x00\x00" + bomb), (b"zTXt", b"x\x00\x00" + bomb), (b"iTXt", b"x\x00\x01\x00\x00\x00" + bomb)]
            new += [(b"eXIf", dice.randbytes(40)), (b"tRNS", dice.randbytes(9)), (b"acTL", dice.randbytes(8)), (b"PLTE", dice.randbytes(6))]
            chunks.insert(dice.choice([1, place]), dice.choice(new))
        case 4:
            size = [dice.choice([0, 1, 15, 16, 47, 48, 200, 4000, 65_535, 2**31 - 1]).to_bytes(4, "big") for _ in range(2)]
            depth, colour, interlace = dice.choice([1, 2, 4, 8, 16]), dice.choice([0, 2, 3, 4, 6]), dice.randrange(2)
            chunks[0] = (b"IHDR", b"".join(size) + bytes([depth, colour, 0, 0, interlace]))
    return data[:8] + b"".join(
        len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big") for kind, content in chunks
    )


def _jpeg(dice: Random, data: bytes) -> bytes:
    """Another size, precision or number of colours; segments of wrong length, or that come in another order."""
    marks = [place for place in range(len(data) - 9) if data[place] == 0xFF and data[place + 1] in (*range(0xC0, 0xC5), *range(0xDA, 0xF0))]
    place = dice.choice(marks or [2])
    frames = [place for place in marks if data[place + 1] in (0xC0, 0xC2)]
    match dice.randrange(4):
        case 0 if frames:
            size = b"".join(dice.choice([0, 1, 17, 40, 3000, 65_535]).to_bytes(2, "big") for _ in range(2))
            return data[: frames[0] + 5] + size + data[frames[0] + 9 :]
        case 1:
            return data[: place + 2] + dice.choice([b"\x00\x00", b"\x00\x02", b"\xff\xff", dice.randbytes(2)]) + data[place + 4 :]
        case 2:
            return data[: place + 1] + bytes([dice.randrange(0xC0, 0xFF)]) + data[place + 2 :]
    other = dice.choice(marks or [2])
    return data[:place] + data[other : other + dice.randrange(400)] + data[place:]


def broken_json(dice: Random, data: bytes) -> bytes:
    """Values, names and structure: wrong, doubled, missing, too deep; or bytes at random."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):  # it was broken before
        return flip(dice, data)
    if dice.random() < 0.1:
        return dice.choice(JSON_VALUES)
    marks = []
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        marks.append(f"@{dice.randrange(10**9)}@")
        tree = _marked(dice, tree, marks[-1])
    text = json.dumps(tree, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    for mark in marks:
        text = text.replace(f'"{mark}"'.encode(), dice.choice(JSON_VALUES))
    match dice.randrange(20):
        case 0:
            return flip(dice, text)
        case 1:
            return text + dice.choice([b"x", text, b"\x00", b",", b"//"])
        case 2:
            return dice.choice([b"\xef\xbb\xbf", b"\xff\xfe"]) + text
        case 3:
            return text.decode("utf-8", "replace").encode("utf-16")
        case 4:
            return text.replace(b"{", b'{"inputs":[],"text":1,"text":2,', 1)
    return text


def _marked(dice: Random, tree: Any, mark: str) -> Any:
    """The tree with the mark in the place of a value, or beside it under a new name."""
    if isinstance(tree, dict) and tree and dice.random() < 0.9:
        name = dice.choice(list(tree))
        changed = dict(tree)
        match dice.randrange(8):
            case 0:
                del changed[name]
            case 1:
                changed[dice.choice(["", "x", "stream", "prompt", "parameters", "data", "shape", "\x00", "model", "binary_data_size"])] = (
                    mark
                )
            case _:
                changed[name] = _marked(dice, tree[name], mark)
        return changed
    if isinstance(tree, list) and tree and dice.random() < 0.8:
        index = dice.randrange(len(tree))
        return [*tree[:index], _marked(dice, tree[index], mark), *tree[index + dice.randrange(2) :]]
    if isinstance(tree, int) and not isinstance(tree, bool) and dice.random() < 0.5:
        return tree + dice.choice([-1, 1, 2**16, 2**31, -tree, -(2**40)])
    return mark


def broken_form(dice: Random, data: bytes) -> bytes:
    """Boundaries, heads of parts and their number."""
    line = b"--" + BOUNDARY
    parts = data.split(line)
    match dice.randrange(8):
        case 0:
            return flip(dice, data)
        case 1:
            return data.replace(line, dice.choice([b"--", b"", line + b" ", b"--" + BOUNDARY[:-1]]), dice.choice([1, -1]))
        case 2:
            return line.join([*parts[:-1], *parts[1:-1] * dice.choice([1, 16, 400]), parts[-1]])
        case 3:
            return line.join(part for part in parts if dice.random() < 0.7)
        case 4:
            return data.replace(b"\r\n", dice.choice([b"\n", b"\r", b"\r\n\r\n"]), dice.choice([1, 3, -1]))
        case 5:
            names = [
                b"name*=utf-8''%ff",
                b'name="' + b"n" * 9000 + b'"',
                b"name=",
                b'name="image"; name="x"',
                b'filename="\x00"',
                b'name="\xff"',
                b"",
            ]
            return data.replace(b'name="image"', dice.choice(names), 1)
        case 6:
            head = dice.choice(
                [b"X: " + b"y" * 20_000, b"X" * 500 + b": y", b"Content-Type: text/plain; charset=utf-7", b": ", b"Content-Disposition:"]
            )
            return data.replace(b"Content-Disposition", head + b"\r\nContent-Disposition", 1)
    return data[: dice.randrange(len(data) + 1)] + dice.choice([b"", b"--", line + b"--"])


def broken_tensors(dice: Random, data: bytes) -> bytes:
    """Most of it is JSON and blobs; which part is broken, and whether the JSON's length is still right, is chance."""
    end = data.rfind(b"}", 0, 2000) + 1
    if end and dice.random() < 0.7:
        return broken_json(dice, data[:end]) + data[end:]
    return flip(dice, data)


def broken_body(dice: Random, request: Request) -> Request:
    breaks = {"json": broken_json, "form": broken_form, "image": broken_image, "tensors": broken_tensors}
    body = breaks.get(request.kind, flip)(dice, request.body)
    if request.kind == "tensors" and dice.random() < 0.8:  # the JSON's length is right again, so that it is looked at
        end = str(body.rfind(b"}", 0, 100_000) + 1).encode()
        headers = tuple((name, end if name == JSON_BYTES.encode() else value) for name, value in request.headers)
        return replace(request, body=body, headers=headers)
    return replace(request, body=body)


def broken_headers(dice: Random, request: Request) -> Request:
    headers = list(request.headers)
    for _ in range(dice.choice([1, 1, 2, 3])):
        name, values = dice.choice(HEADERS)
        new = (name, dice.choice(values))
        others = [header for header in headers if header[0].lower() != name.lower()]
        headers = [*(headers if dice.random() < 0.3 else others), new]
    if dice.random() < 0.05:
        headers += [(b"X-%d" % number, b"y") for number in range(dice.choice([90, 900, 9000]))]
    return replace(request, headers=tuple(headers))


def broken_line(dice: Random, request: Request) -> Request:
    match dice.randrange(4):
        case 0:
            return replace(request, method=dice.choice(METHODS))
        case 1:
            return replace(request, target=dice.choice(TARGETS))
        case 2:
            return replace(request, target=flip(dice, request.target))
    return broken_query(dice, request)


def broken_query(dice: Random, request: Request) -> Request:
    path, _, query = request.target.partition(b"?")
    pairs = query.split(b"&") if query else []
    for _ in range(dice.choice([1, 1, 2, 40])):
        pairs.insert(dice.randrange(len(pairs) + 1), dice.choice(OPTIONS) + b"=" + dice.choice(WORDS))
    return replace(request, target=path + b"?" + b"&".join(pairs))
