"""A raw stream of server-sent events, taken apart by the specification's rules."""

from __future__ import annotations

import json
from typing import Any


def events_of(body: str) -> list[str]:
    """The data of each event; comments are left out. Every event must be complete and of one line."""
    blocks = body.split("\n\n")
    assert blocks[-1] == "", "the stream does not end with an empty line"
    found = []
    for block in blocks[:-1]:
        if block.startswith(":"):
            continue
        assert block.startswith("data: "), block
        assert "\n" not in block
        found.append(block.removeprefix("data: "))
    return found


def chunks_of(body: str) -> list[dict[str, Any]]:
    """The JSON of each event of an OpenAI stream, which ends with [DONE]."""
    *chunks, done = events_of(body)
    assert done == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]
