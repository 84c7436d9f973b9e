"""gzip and deflate of whole bodies. A body is never larger, decompressed, than one that came as it is."""

from __future__ import annotations

import gzip
import zlib

from app.errors import BadRequest, InputTooLarge, UnsupportedMediaType

ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # of zlib's formats: the header that it wants
FAST = 1  # an answer is read once


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Raises UnsupportedMediaType, BadRequest for a body that is not such a file, InputTooLarge."""
    if encoding in ("", "identity"):
        return body
    if encoding not in ENCODINGS:
        raise UnsupportedMediaType(f"the content encoding may be {' or '.join(ENCODINGS)}, not {encoding[:64]!r}")
    stream = zlib.decompressobj(ENCODINGS[encoding])
    try:
        content = stream.decompress(body, max_bytes + 1)
    except zlib.error:
        raise BadRequest(f"the body is not {encoding}") from None
    if len(content) > max_bytes:
        raise InputTooLarge(f"the body is larger than {max_bytes:,} bytes when it is decompressed")
    if not stream.eof or stream.unused_data:
        raise BadRequest(f"the body is not one whole {encoding} file")
    return content


def compress(body: bytes, encoding: str) -> bytes:
    return gzip.compress(body, FAST, mtime=0) if encoding == "gzip" else zlib.compress(body, FAST)


def accepted_encoding(accept: str) -> str | None:
    """The encoding that an Accept-Encoding header likes best; None: as it is."""
    weights = {"identity": 0.0}
    for part in accept.lower().split(","):
        name, _, weight = part.partition(";")
        weights[name.strip()] = _weight(weight)
    best = max(ENCODINGS, key=lambda name: weights.get(name, 0.0))
    return best if weights.get(best, 0.0) > 0 and weights.get(best, 0.0) >= weights["identity"] else None


def _weight(parameter: str) -> float:
    try:
        return float(parameter.strip().removeprefix("q=") or 1)
    except ValueError:
        return 0.0
