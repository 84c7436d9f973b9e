"""What every refusal must be: our shape, our words, a request id."""

from __future__ import annotations

import re
from typing import Any

from httpx2 import Response

LIBRARY_TEXT = re.compile(
    r"pydantic|starlette|fastapi|pillow|PIL\b|onnx|numpy|uvicorn|Traceback|Error\b|Exception|errno|0x[0-9a-f]{4}|site-packages|/tmp|/work|/home|\.py\b",
    re.IGNORECASE,
)


def assert_refused(response: Response, status: int, kind: str, *, param: str | None = None, says: str = "") -> dict[str, Any]:
    """The answer has this status, type and param; its message holds `says`, no path and no library's words."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body: dict[str, Any] = response.json()
    assert set(body) == {"error"}, "FastAPI's own error shape leaked"
    error: dict[str, Any] = body["error"]
    for_openai_too = response.url.path.startswith("/v1/models")
    assert set(error) == {"type", "message", "param"} | ({"code"} if for_openai_too else set())
    assert (error["type"], error["param"]) == (kind, param), error
    assert not LIBRARY_TEXT.search(error["message"]), error["message"]
    assert len(error["message"]) < 400
    assert says in error["message"], error["message"]
    return error
