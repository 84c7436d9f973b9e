"""What openapi.json says of keys, so that Swagger UI has a place to enter one."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.api.error_shapes import Shape, open_inference, openai, shape_of
from app.api.gate import HEALTH

SCHEMES: dict[str, dict[str, str]] = {
    "api-key": {"type": "http", "scheme": "bearer", "description": "a key of AXON_API_KEYS or AXON_API_KEYS_FILE"},
    "X-API-Key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same, where Authorization is taken"},
}

ANSWERS: dict[Shape, str] = {openai: "OpenAIError", open_inference: "ErrorSentence"}  # the schemas of their errors


def describe_keys(app: FastAPI) -> None:
    """Every operation but health needs a key; one that names a scheme of its own, the admin key, keeps to that."""
    document = app.openapi

    def document_with_keys() -> dict[str, Any]:
        schema = document()  # made once, and kept
        schema["components"]["securitySchemes"] = SCHEMES | schema["components"].get("securitySchemes", {})  # in the order of the dialog
        schema["security"] = [{name: []} for name in SCHEMES]
        for path, operations in schema["paths"].items():
            for operation in operations.values():
                if path in HEALTH:
                    operation["security"] = []
                else:
                    operation["responses"].setdefault("401", _unauthorized(path))
        return schema

    app.openapi = document_with_keys  # type: ignore[method-assign]


def _unauthorized(path: str) -> dict[str, Any]:
    reference = f"#/components/schemas/{ANSWERS.get(shape_of(path), 'ErrorAnswer')}"
    return {"description": "The API key is missing or wrong", "content": {"application/json": {"schema": {"$ref": reference}}}}
