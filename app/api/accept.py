"""The Accept header: which of the forms that an answer may have the client likes best (RFC 9110, section 12.5.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.requests import Request

from app.errors import NotAcceptable

_SYNONYMS = {"image/jpg": "image/jpeg"}  # what many clients call it
_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|\.[0-9]{1,3}|1(\.0{0,3})?")  # Java leaves out the 0 of 0.2


def preferred(request: Request, offers: Sequence[str]) -> str:
    """One of the offered media types; the first of those that are liked alike. Raises NotAcceptable."""
    header = ",".join(request.headers.getlist("accept"))
    if not header.strip(", \t"):
        return offers[0]
    ranges = dict(part for part in map(_range, header.split(",")) if part)
    weights = [_weight(ranges, offer) for offer in offers]
    if max(weights) == 0:
        raise NotAcceptable(f"the answer may be {', '.join(offers[:-1])} or {offers[-1]}; Accept allows none of them")
    return offers[weights.index(max(weights))]


def _range(part: str) -> tuple[str, float] | None:
    """("image/*", 0.5); None for what is no media range. A weight that is none counts as left out, other parameters are let pass."""
    media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
    weight = next((piece.removeprefix("q=") for piece in parameters if piece.startswith("q=")), "1")
    if "/" not in media_range:
        return None
    return _SYNONYMS.get(media_range, media_range), float(weight) if _WEIGHT.fullmatch(weight) else 1.0


def _weight(ranges: dict[str, float], offer: str) -> float:
    """That of the most specific range that the offer is in."""
    for media_range in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        if media_range in ranges:
            return ranges[media_range]
    return 0.0
