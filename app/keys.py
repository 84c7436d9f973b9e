"""Keys: how they are written, and what is kept of them, which is a digest.

A key has 16 to 256 of the characters that a Bearer token may have, `openssl rand -hex 32` for instance. In a file each
stands on a line of its own, in a variable there are commas between them. `name:key` says what the log calls its holder;
without a name it is the key's number; `admin` is the admin key's name. A line that begins with # is a comment.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

MIN_KEY_CHARS, MAX_KEY_CHARS = 16, 256
ADMIN = "admin"  # how the log calls whoever has the admin key

_KEY = re.compile(rf"[A-Za-z0-9._~+/=-]{{{MIN_KEY_CHARS},{MAX_KEY_CHARS}}}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Who holds it, and what is compared."""

    name: str
    digest: bytes


def digest_of(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """At least one key. Raises ValueError, which names an entry by its number and never by what it holds."""
    keys: list[ApiKey] = []
    for number, entry in enumerate(_entries(text), 1):
        name, colon, key = entry.rpartition(":")
        if colon and not _NAME.fullmatch(name):
            raise ValueError(f"must have names of a-z, 0-9, '.', '_' and '-': that of key {number} is another")
        if name == ADMIN:
            raise ValueError(f"must not call a client {ADMIN!r}, as key {number} does: so the log calls whoever has the admin key")
        if not _KEY.fullmatch(key):
            raise ValueError(
                f"must hold keys of {MIN_KEY_CHARS} to {MAX_KEY_CHARS} letters, digits and . _ ~ + / = -, one a line or between "
                f"commas: key {number} is another"
            )
        keys.append(ApiKey(name or str(number), digest_of(key.encode())))
    if not keys:
        raise ValueError("must hold a key, or not be set: without a key nobody could ask anything")
    if len({key.digest for key in keys}) < len(keys):
        raise ValueError("must not hold a key twice")
    if len({key.name for key in keys}) < len(keys):
        raise ValueError("must not give two keys one name")
    return tuple(keys)


def check_admin_key(text: str) -> None:
    """It may have any letters, but it is all that its file holds. Raises ValueError."""
    name, colon, key = text.rpartition(":")
    if len(text.encode()) < MIN_KEY_CHARS:
        raise ValueError(f"must hold a key of at least {MIN_KEY_CHARS} bytes")
    if not text.isprintable() or text.startswith("#") or (colon and _NAME.fullmatch(name) and _KEY.fullmatch(key)):
        raise ValueError("must hold the key alone, on one line: no comment, and no name before it")


def holder_of(given: bytes, keys: Sequence[ApiKey]) -> str | None:
    """The name of the key that was given. Every key is compared to its end, whichever fits: the time tells nothing."""
    digest, name = digest_of(given), None
    for key in keys:
        if hmac.compare_digest(digest, key.digest):
            name = key.name
    return name


def _entries(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            yield from (entry.strip() for entry in line.split(",") if entry.strip())
