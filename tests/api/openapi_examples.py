"""The examples of openapi.json, sent as "Try it out" would send them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from starlette.testclient import TestClient


def operations(client: TestClient) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of everything that is documented."""
    for path, methods in client.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def send_example(client: TestClient, path: str, method: str, operation: dict[str, Any], admin_key: str = "") -> str:
    """Send an operation with every example that it has; it must succeed, if not for want of a key. Returns the path."""
    url, query = _filled(path, operation)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    example = body and (_example_of(body) or _example_of(body["schema"]))
    assert example or not body, f"{method} {path} has a body and no example"
    locked = "security" in operation
    headers = {"authorization": f"Bearer {admin_key}"} if locked else {}
    response = client.request(method, url, params=query, headers=headers, **({"json": example} if body else {}))
    assert response.status_code == (403 if locked and not admin_key else 200), (method, url, response.text)
    return path


def _example_of(schema: dict[str, Any]) -> Any:
    return schema.get("example") or next(iter(schema.get("examples", [])), None)


def _filled(path: str, operation: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    query = {}
    for parameter in operation.get("parameters", []):
        example = _example_of(parameter) or _example_of(parameter["schema"])
        if parameter["in"] == "path":
            assert "example" in parameter["schema"], f"{path}: Swagger UI fills in `example` only, and {parameter['name']} has none"
            path = path.replace("{" + parameter["name"] + "}", example)
        elif parameter["in"] == "query" and example is not None:
            query[parameter["name"]] = example
    return path, query
