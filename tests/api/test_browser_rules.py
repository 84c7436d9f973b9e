"""What browsers are told: who else may ask (nobody, unless a setting says so), and the headers of every answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from tests.api.error_shape import assert_refused
from tests.api.routes import METHODS, addresses
from tests.conftest import serve

KEY = "key-of-a-client-0001"
WORDS = "/v1/text-classification/words"
ORIGIN, OTHER = "https://app.example.org", "https://evil.example.org"
PREFLIGHT = {"origin": ORIGIN, "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}


@pytest.fixture(scope="module")
def shared(toy_models: Path) -> Iterator[TestClient]:
    with serve(toy_models, api_keys=KEY, cors_origins=f"{ORIGIN}, http://localhost:3000") as client:
        yield client


def cors_headers(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


def test_by_default_no_other_site_may_ask(client: TestClient) -> None:
    assert client.options(WORDS, headers=PREFLIGHT).status_code == 405
    for response in (client.options(WORDS, headers=PREFLIGHT), client.get("/v1/models", headers={"origin": ORIGIN})):
        assert cors_headers(dict(response.headers)) == {}


def test_a_preflight_of_an_allowed_origin_needs_no_key(shared: TestClient) -> None:
    response = shared.options(WORDS, headers=PREFLIGHT)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert response.headers["access-control-allow-methods"] == "GET, HEAD, POST"
    allowed = response.headers["access-control-allow-headers"].lower().split(", ")
    assert {"authorization", "x-api-key", "content-type", "x-request-timeout-ms", "inference-header-content-length"} <= set(allowed)
    assert shared.options("/v1/models", headers=PREFLIGHT | {"access-control-request-method": "HEAD"}).status_code == 200
    openai = PREFLIGHT | {"access-control-request-headers": "authorization, content-type, user-agent, x-stainless-lang, x-stainless-os"}
    assert shared.options("/v1/completions", headers=openai).status_code == 200
    assert "access-control-allow-credentials" not in response.headers
    assert "origin" in response.headers["vary"].lower()
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    "changed",
    [
        {"origin": OTHER},
        {"origin": "null"},
        {"origin": f"{ORIGIN}.evil.org"},
        {"origin": ORIGIN.replace("https", "http")},
        {"access-control-request-method": "DELETE"},
        {"access-control-request-headers": "x-strange"},
    ],
)
def test_a_preflight_of_anything_else_is_refused_in_our_words(shared: TestClient, changed: dict[str, str]) -> None:
    response = shared.options(WORDS, headers=PREFLIGHT | changed)
    assert_refused(response, 400, "bad_request", says="a page of this origin may not send this request")
    if "origin" in changed:
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("path", ["/v2/models/words/infer", "/v1/completions"])
def test_that_refusal_has_the_shape_of_its_path(shared: TestClient, path: str) -> None:
    error = shared.options(path, headers=PREFLIGHT | {"access-control-request-method": "DELETE"}).json()["error"]
    message = error if path.startswith("/v2") else error["message"]
    assert message.startswith("a page of this origin may not send this request")


def test_an_allowed_page_can_read_answers_and_refusals(shared: TestClient) -> None:
    for headers, status in (({"x-api-key": KEY}, 200), ({}, 401)):
        response = shared.get("/v1/models", headers={"origin": ORIGIN, **headers})
        assert response.status_code == status
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert "X-Request-Id" in response.headers["access-control-expose-headers"]
    elsewhere = shared.get("/v1/models", headers={"origin": OTHER, "x-api-key": KEY})
    assert "access-control-allow-origin" not in elsewhere.headers


def test_an_options_request_that_is_no_preflight_needs_a_key(shared: TestClient) -> None:
    assert shared.options(WORDS).status_code == 401
    assert shared.options(WORDS, headers={"origin": ORIGIN}).status_code == 401


def test_a_star_allows_every_origin(toy_models: Path) -> None:
    with serve(toy_models, cors_origins="*") as client:
        assert client.options(WORDS, headers=PREFLIGHT | {"origin": OTHER}).headers["access-control-allow-origin"] == "*"
        assert client.get("/v1/models", headers={"origin": OTHER}).headers["access-control-allow-origin"] == "*"


def once(values: list[str]) -> str:
    assert len(values) == 1, values
    return values[0]


def test_every_answer_has_the_headers_once(client: TestClient) -> None:
    app: FastAPI = client.app  # type: ignore[assignment]
    for address in [*addresses(app), "/absent"]:
        for method in METHODS:
            headers = client.request(method, address, follow_redirects=False).headers
            assert once(headers.get_list("x-content-type-options")) == "nosniff", address
            assert once(headers.get_list("referrer-policy")) == "no-referrer", address
            assert "frame-ancestors 'none'" in once(headers.get_list("content-security-policy")), address
            is_page = address in ("/", "/docs", "/docs/oauth2-redirect", "/redoc")
            is_file = address.startswith(("/web/", "/static-offline-docs/"))
            assert once(headers.get_list("cache-control")) == ("no-cache" if is_page or is_file else "no-store"), (method, address)
            if not is_page and not is_file:
                assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


@pytest.mark.parametrize("path", ["/", "/web/axon.js", "/web/tasks/text-generation.js", "/static-offline-docs/swagger-ui.css"])
def test_files_of_the_pages_are_asked_for_anew_each_time(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert once(response.headers.get_list("cache-control")) == "no-cache"
    assert response.headers["etag"]


def test_an_unchanged_module_is_not_sent_again(client: TestClient) -> None:
    etag = client.get("/web/axon.js").headers["etag"]
    response = client.get("/web/axon.js", headers={"if-none-match": etag})
    assert (response.status_code, response.content) == (304, b"")
    assert once(response.headers.get_list("cache-control")) == "no-cache"


def test_a_prediction_is_stored_nowhere(client: TestClient) -> None:
    assert client.post(WORDS, json={"text": "good"}).headers["cache-control"] == "no-store"


def test_a_bug_and_a_refusal_have_the_headers_too(toy_models: Path) -> None:
    app = create_app(Settings(models=toy_models, cores=1, api_keys=KEY))

    @app.get("/bug")
    async def bug() -> None:
        raise RuntimeError

    with TestClient(app, raise_server_exceptions=False) as client:
        for headers, status in (({"x-api-key": KEY}, 500), ({}, 401)):
            response = client.get("/bug", headers=headers)
            assert response.status_code == status
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["cache-control"] == "no-store"


def test_an_allowed_page_can_read_of_a_bug(toy_models: Path) -> None:
    app = create_app(Settings(models=toy_models, cores=1, cors_origins=(ORIGIN,)))

    @app.get("/v2/bug")
    async def bug() -> None:
        raise RuntimeError

    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get("/v2/bug", headers={"origin": ORIGIN})
        assert (response.status_code, list(response.json())) == (500, ["error"])
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["x-request-id"]
        assert "access-control-allow-origin" not in client.get("/v2/bug", headers={"origin": OTHER}).headers


def test_the_pages_may_load_only_what_they_have_and_be_framed_by_nobody(client: TestClient) -> None:
    for page in ("/", "/docs", "/redoc"):
        policy = client.get(page).headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; ")
        for rule in ("frame-ancestors 'none'", "base-uri 'none'", "object-src 'none'"):
            assert rule in policy
    assert "unsafe-inline" not in client.get("/").headers["content-security-policy"]


@pytest.mark.parametrize("asked", ["bytes=99999999999-", "bytes=5-1", "items=0-1", "bytes=x", "bytes=0-3"])
@pytest.mark.parametrize("path", ["/", "/web/axon.js", "/static-offline-docs/favicon.png"])
def test_a_file_is_sent_whole_whatever_range_is_asked_for(client: TestClient, path: str, asked: str) -> None:
    response = client.get(path, headers={"range": asked})
    assert (response.status_code, response.content) == (200, client.get(path).content)
