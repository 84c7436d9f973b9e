"""One shape for every error, and a request id on every answer."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.main import create_app
from app.observability.logs import TextFormatter
from app.settings import Settings
from tests.api.error_shape import assert_refused

WORDS = "/v1/text-classification/words"


@pytest.mark.parametrize(
    "path", ["/absent", "/v1", "/v1/text-classification", "/v1/absent/words", "/health", "/static-offline-docs/absent.js"]
)
def test_an_unknown_path_is_not_found_in_our_shape(client: TestClient, path: str) -> None:
    assert_refused(client.get(path), 404, "not_found", says="see /docs")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", WORDS, "POST"), ("DELETE", "/v1/models", "GET, HEAD"), ("PUT", WORDS, "POST"), ("POST", "/health/live", "GET, HEAD")],
)
def test_a_wrong_method_is_refused_in_our_shape(client: TestClient, method: str, path: str, allowed: str) -> None:
    response = client.request(method, path)
    assert_refused(response, 405, "method_not_allowed", says=method)
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/completions/x"])
def test_what_openais_clients_ask_for_in_vain_is_refused_in_openais_shape(client: TestClient, path: str) -> None:
    response = client.post(path, json={"model": "words"})
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["code"], error["param"]) == (404, "invalid_request_error", "not_found", None)


PACKED = gzip.compress(b"{}")


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        (WORDS, "application/json"),
        ("/v1/image-classification/colours", "image/png"),
        ("/v1/image-classification/colours", "application/json"),
        ("/v2/repository/index", "application/json"),
        ("/v1/completions", "application/json"),
    ],
)
def test_a_compressed_body_is_refused_where_it_is_not_unpacked(client: TestClient, path: str, media_type: str) -> None:
    for encoding in ("gzip", "br", "x-gzip", "gzip, identity"):
        response = client.post(path, content=PACKED, headers={"content-type": media_type, "content-encoding": encoding})
        assert response.status_code == (400 if path == "/v1/completions" else 415), response.text
        assert "send the body as it is" in response.text
    plain = {"content-type": "application/json", "content-encoding": "Identity"}
    assert client.post(WORDS, content=b'{"text": "good"}', headers=plain).status_code == 200


def test_a_long_path_is_not_echoed_whole(client: TestClient) -> None:
    assert_refused(client.get("/" + "a" * 8000), 404, "not_found")


def test_the_clients_request_id_comes_back(client: TestClient) -> None:
    for path in ("/health/live", "/absent"):
        assert client.get(path, headers={"x-request-id": "trace-1.a:b_c"}).headers["x-request-id"] == "trace-1.a:b_c"


@pytest.mark.parametrize("request_id", ["", "a" * 129, "with space", "<script>", "caf\u00e9".encode()])
def test_an_unfit_request_id_is_replaced(client: TestClient, request_id: Any) -> None:
    answered = client.get("/health/live", headers={"x-request-id": request_id}).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", answered)


def test_each_request_gets_its_own_id(client: TestClient) -> None:
    ids = {client.get("/health/live").headers["x-request-id"] for _ in range(5)}
    assert len(ids) == 5


@pytest.mark.parametrize("value", ["0", "-5", "soon", "1.5", "3600001", "99999999999999999999999"])
def test_a_deadline_out_of_range_is_refused(client: TestClient, value: str) -> None:
    response = client.post(WORDS, json={"text": "good"}, headers={"x-request-timeout-ms": value})
    assert_refused(response, 422, "invalid_option", param="x-request-timeout-ms")


def with_a_bug(app: FastAPI) -> FastAPI:
    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError("secret of /etc/passwd")

    return app


def test_a_bug_is_a_500_in_our_words_and_a_traceback_in_the_log(toy_models: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = with_a_bug(create_app(Settings(models=toy_models, cores=1)))
    caplog.handler.setFormatter(TextFormatter())
    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get("/bug", headers={"x-request-id": "trace-7"})
    assert_refused(response, 500, "internal_error", says="request id")
    assert response.headers["x-request-id"] == "trace-7"
    assert "secret" not in response.text
    assert "trace-7" in caplog.text
    assert "RuntimeError: secret of /etc/passwd" in caplog.text
