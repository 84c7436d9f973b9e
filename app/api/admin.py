"""Who may change what is served: whoever has the admin key. Without AXON_ADMIN_KEY_FILE nobody may."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Annotated

from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from app.api.state import admin_digest
from app.errors import Forbidden, Unauthorized

scheme = HTTPBearer(scheme_name="admin key", auto_error=False, description="the key in AXON_ADMIN_KEY_FILE")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(scheme)]


def digest_of(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def read_digest(path: Path | None) -> bytes | None:
    """Of the key in the file, without the line's end; the key itself is not kept."""
    return None if path is None else digest_of(path.read_bytes().strip())


async def require_admin(request: Request, credentials: Credentials) -> None:
    """Raises Forbidden where there is no admin key, Unauthorized for a request without it."""
    expected = admin_digest(request)
    if expected is None:
        raise Forbidden("this is switched off; a server that is started with AXON_ADMIN_KEY_FILE does it for whoever has that key")
    given = b"" if credentials is None else credentials.credentials.encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(digest_of(given), expected):
        raise Unauthorized("this needs the admin key, as Authorization: Bearer")
