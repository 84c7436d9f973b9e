"""Who may change what is served: whoever has the admin key. Without AXON_ADMIN_KEY_FILE nobody may."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from app.api.state import admin_digest
from app.errors import Forbidden, Unauthorized
from app.keys import digest_of

ADMIN_PATHS = "/v2/repository/models/"  # every operation below needs the admin key, and no API key

scheme = HTTPBearer(scheme_name="admin-key", auto_error=False, description="the key in AXON_ADMIN_KEY_FILE")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Security(scheme)]


async def require_admin(request: Request, credentials: Credentials) -> None:
    """Raises Forbidden where there is no admin key, Unauthorized for a request without it."""
    expected = admin_digest(request)
    if expected is None:
        raise Forbidden("this is switched off; a server that is started with AXON_ADMIN_KEY_FILE does it for whoever has that key")
    given = b"" if credentials is None else credentials.credentials.encode("latin-1")  # as it was decoded: the bytes that were sent
    if not hmac.compare_digest(digest_of(given), expected):
        raise Unauthorized("this needs the admin key, as Authorization: Bearer")
