"""gzip and deflate of whole bodies. A body is never larger, decompressed, than one that came as it is."""

from __future__ import annotations

import gzip
import zlib

from app.errors import BadRequest, InputTooLarge, UnsupportedMediaType

SYNONYMS = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3
MAX_MEMBERS = 100  # of a gzip file, RFC 1952: what is behind each is copied
ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}  # of zlib's formats: the header that it wants
FAST = 1  # an answer is read once


def decompress(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Raises UnsupportedMediaType, BadRequest for a body that is not such a file, InputTooLarge."""
    if encoding in ("", "identity"):
        return body
    encoding = SYNONYMS.get(encoding, encoding)
    if encoding not in ENCODINGS:
        raise UnsupportedMediaType(f"the content encoding may be {' or '.join(ENCODINGS)}, not {encoding[:64]!r}")
    content = b""
    for _ in range(MAX_MEMBERS if encoding == "gzip" else 1):
        stream = zlib.decompressobj(ENCODINGS[encoding])
        try:
            content += stream.decompress(body, max_bytes + 1 - len(content))
        except zlib.error:
            raise BadRequest(f"the body is not {encoding}") from None
        if len(content) > max_bytes:
            raise InputTooLarge(f"the body is larger than {max_bytes:,} bytes when it is decompressed")
        body = stream.unused_data
        if not body or not stream.eof:
            break
    if not stream.eof or body:
        raise BadRequest(f"the body is not one whole {encoding} file")
    return content


def compress(body: bytes, encoding: str) -> bytes:
    return gzip.compress(body, FAST, mtime=0) if encoding == "gzip" else zlib.compress(body, FAST)


def accepted_encoding(accept: str) -> str | None:
    """The encoding that an Accept-Encoding header likes best; None: as it is."""
    weights = {"identity": 0.0}
    for part in accept.lower().split(","):
        name, _, weight = part.partition(";")
        name = name.strip()
        weights[SYNONYMS.get(name, name)] = _weight(weight)
    best = max(ENCODINGS, key=lambda name: weights.get(name, 0.0))
    return best if weights.get(best, 0.0) > 0 and weights.get(best, 0.0) >= weights["identity"] else None


def _weight(parameter: str) -> float:
    try:
        return float(parameter.strip().removeprefix("q=") or 1)
    except ValueError:
        return 0.0
