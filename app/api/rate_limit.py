"""So many requests a minute for each client, and no more: a token bucket that starts full and fills by the second."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.error_handlers import error_response
from app.api.gate import HEALTH
from app.errors import RateLimited
from app.observability import CLIENT

MAX_CLIENTS = 10_000  # about 2 MB; beyond, the client that was let in longest ago begins anew
IPV6_NETWORK = 64  # bits; what one household has of addresses
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address is in each


class TokenBuckets:
    """A bucket a client, kept as the moment when it will be full: the generic cell rate algorithm (ITU-T I.371)."""

    def __init__(self, per_minute: int, max_clients: int = MAX_CLIENTS, clock: Callable[[], float] = time.monotonic) -> None:
        self._token_s = 60 / per_minute
        self._full_s = 60.0  # from empty
        self._max_clients = max_clients
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def wait_s(self, client: str) -> float:
        """Take a token; 0, or the seconds until there will be one."""
        now = self._clock()
        full_at = max(now, self._full_at.get(client, now)) + self._token_s
        wait_s = full_at - now - self._full_s
        if wait_s > 1e-9:  # what a minute's share of a second loses in floating point
            return wait_s
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        if len(self._full_at) > self._max_clients:
            self._full_at.popitem(last=False)
        return 0.0


class RateLimit:
    """By key where the gate has seen one, else by address; health is free."""

    def __init__(self, app: ASGIApp, per_minute: int) -> None:
        self._app = app
        self._per_minute = per_minute
        self._buckets = TokenBuckets(per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in HEALTH:
            wait_s = self._buckets.wait_s(scope.get(CLIENT) or address(scope))
            if wait_s:
                error = RateLimited(self._per_minute, math.ceil(wait_s))
                await error_response(scope["path"], error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def address(scope: Scope) -> str:
    """Of the client; of IPv6 its network, for a client has as many addresses there as it likes, unless it is IPv4 in other clothes."""
    host = str((scope.get("client") or ("unknown", 0))[0])
    if ":" not in host:
        return host
    try:
        ip = ipaddress.IPv6Address(host.partition("%")[0])
    except ValueError:
        return host
    if ip.ipv4_mapped or ip in NAT64:
        return str(ip.ipv4_mapped or ip)
    return str(ipaddress.IPv6Network((ip, IPV6_NETWORK), strict=False))
