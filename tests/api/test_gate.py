"""With keys, nothing is answered without one: every address that there is, and every one that there is not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from app.api.admin import ADMIN_PATHS, require_admin
from app.api.gate import HEALTH
from app.main import create_app
from app.settings import Settings
from tests.api.error_shape import assert_refused
from tests.api.open_inference.requests import assert_refused as assert_v2_refused
from tests.api.routes import METHODS, addresses
from tests.conftest import serve

KEY, OTHER_KEY, ADMIN_KEY = "key-of-a-client-0001", "key-of-a-client-0002", "admin-key-of-the-tests"
WORDS = "/v1/text-classification/words"
LOAD = f"{ADMIN_PATHS}words/load"

ABSENT = [
    "/absent",
    "/v1",
    "/v3/models",
    "/HEALTH/LIVE",
    "/health",
    "/health/",
    "/health/live/",
    "/health/live/../../metrics",
    "//health/live",
    "/health/live%2f",
    "/health/ready;x",
    "/web/../metrics",
    "/docs/absent",
    "/v2/health/live/absent",
    "/static-offline-docs/../../pyproject.toml",
]
OPEN_TO_ALL = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}


@pytest.fixture(scope="module")
def admin_key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "admin-key"
    path.write_text(f"{ADMIN_KEY}\n", encoding="utf-8")
    return path


def locked(models: Path, admin_key_file: Path, **settings: Any) -> Any:
    """Ready means loaded here, for `serve` asks /health/ready, which needs no key."""
    return serve(models, api_keys=f"ci:{KEY}, {OTHER_KEY}", admin_key_file=admin_key_file, **settings)


@pytest.fixture(scope="module")
def gated(toy_models: Path, admin_key_file: Path) -> Iterator[TestClient]:
    with locked(toy_models, admin_key_file) as client:
        yield client


@pytest.fixture(scope="module")
def public(toy_models: Path, admin_key_file: Path) -> Iterator[TestClient]:
    with locked(toy_models, admin_key_file, public_pages=True) as client:
        yield client


def all_addresses(client: TestClient) -> list[str]:
    found = addresses(client.app)  # type: ignore[arg-type]
    assert {WORDS, "/v1/models/words", "/v1/completions", LOAD, "/metrics", "/", "/docs", "/web/axon.js"} <= set(found)
    assert len(found) > 40
    return found


def test_health_is_all_that_is_open() -> None:
    assert HEALTH == OPEN_TO_ALL


def test_every_address_and_method_needs_a_key_but_health(gated: TestClient) -> None:
    for address, method in itertools.product([*all_addresses(gated), *ABSENT], METHODS):
        response = gated.request(method, address, headers={"origin": "https://example.org"}, follow_redirects=False)
        if address in OPEN_TO_ALL:
            assert response.status_code != 401, (method, address)
        else:
            assert response.status_code == 401, (method, address, response.status_code)
            assert response.headers["www-authenticate"] == "Bearer"
            assert response.headers["x-request-id"]


def test_a_key_opens_every_address_that_a_method_fits(gated: TestClient) -> None:
    for address in all_addresses(gated):
        response = gated.get(address, headers={"x-api-key": KEY}, follow_redirects=False)
        assert response.status_code != 401, address


def test_health_is_open_to_all(gated: TestClient) -> None:
    for path in OPEN_TO_ALL:
        assert gated.get(path).status_code == 200, path


def test_a_web_socket_is_refused_before_it_is_accepted(gated: TestClient) -> None:
    for path in ("/", "/v1/completions", "/absent"):
        with pytest.raises(WebSocketDisconnect), gated.websocket_connect(path):
            pass


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer {OTHER_KEY}"},
        {"authorization": f"BEARER  {KEY} "},
        {"x-api-key": KEY},
        {"X-Api-Key": f" {OTHER_KEY}"},
        {"x-api-key": KEY, "authorization": "Bearer something else"},
        {"x-api-key": "something else", "authorization": f"Bearer {KEY}"},
        {"x-api-key": KEY, "authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_a_key_may_come_in_either_header(gated: TestClient, headers: dict[str, str]) -> None:
    assert gated.post(WORDS, json={"text": "good"}, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": f"Bearer {KEY[:-1]}"},
        {"authorization": f"Bearer ci:{KEY}"},
        {"authorization": f"Basic {KEY}"},
        {"authorization": KEY},
        {"authorization": "Bearer "},
        {"x-api-key": ""},
        {"x-api-key": f"Bearer {KEY}"},
        {"x-api-key": ADMIN_KEY},
        {"authorization": f"Bearer {ADMIN_KEY}"},
        {"cookie": f"key={KEY}"},
        {"authorization": "Bearer é".encode("latin-1")},
    ],
)
def test_what_is_no_key_opens_nothing(gated: TestClient, headers: Any) -> None:
    assert_refused(gated.post(WORDS, json={"text": "good"}, headers=headers), 401, "invalid_api_key", says="API key")
    assert gated.get(f"/v1/models?api_key={KEY}", headers=headers).status_code == 401


def test_each_face_refuses_in_its_own_shape(gated: TestClient) -> None:
    assert_refused(gated.get("/v1/models"), 401, "invalid_api_key", says="Authorization: Bearer or as X-API-Key")
    assert_refused(gated.get("/absent"), 401, "invalid_api_key")
    openai = gated.post("/v1/completions", json={}).json()["error"]
    assert set(openai) == {"message", "type", "param", "code"}
    assert (openai["type"], openai["code"]) == ("authentication_error", "invalid_api_key")
    assert_v2_refused(gated.get("/v2/models/words"), 401, "this needs an API key")


def test_the_admin_key_and_the_api_keys_are_no_substitutes(gated: TestClient) -> None:
    assert gated.post(LOAD, headers={"authorization": f"Bearer {ADMIN_KEY}"}).status_code == 200
    assert gated.post(LOAD, headers={"authorization": f"Bearer {ADMIN_KEY}", "x-api-key": KEY}).status_code == 200
    assert_v2_refused(gated.post(LOAD, headers={"authorization": f"Bearer {KEY}"}), 401, "this needs the admin key")
    assert_v2_refused(gated.post(LOAD, headers={"x-api-key": ADMIN_KEY}), 401, "API key")
    for path in ("/v1/models", "/metrics", "/v2/repository/index", "/v2/models/words"):
        assert gated.get(path, headers={"authorization": f"Bearer {ADMIN_KEY}"}).status_code == 401, path


def test_every_operation_for_the_admin_lies_where_the_gate_expects_it() -> None:
    from fastapi.routing import iter_route_contexts

    for route in iter_route_contexts(create_app(Settings()).routes):
        dependencies = [dependency.dependency for dependency in getattr(route, "dependencies", None) or []]
        assert (require_admin in dependencies) == (route.path or "").startswith(ADMIN_PATHS), route.path


def test_public_pages_are_pages_and_nothing_that_answers(public: TestClient) -> None:
    pages = {"/", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"}
    for address in all_addresses(public):
        is_open = address in OPEN_TO_ALL | pages or address.startswith(("/web/", "/static-offline-docs/"))
        assert (public.get(address, follow_redirects=False).status_code != 401) == is_open, address
    for address in pages | {"/web/axon.js"}:
        assert public.get(address).status_code == 200, address
    for address in ("/web/%2e%2e/%2e%2e/settings.py", "/static-offline-docs/..%2f..%2fmain.py", "/web//etc/passwd"):
        assert public.get(address).status_code in (401, 404), address


def test_the_documentation_has_a_place_for_the_key(gated: TestClient, client: TestClient) -> None:
    document = gated.get("/openapi.json", headers={"x-api-key": KEY}).json()
    schemes = document["components"]["securitySchemes"]
    assert (schemes["api-key"]["type"], schemes["api-key"]["scheme"]) == ("http", "bearer")
    assert (schemes["X-API-Key"]["type"], schemes["X-API-Key"]["in"], schemes["X-API-Key"]["name"]) == ("apiKey", "header", "X-API-Key")
    assert document["security"] == [{"api-key": []}, {"X-API-Key": []}]
    paths = document["paths"]
    assert paths["/health/live"]["get"]["security"] == paths["/v2/health/ready"]["get"]["security"] == []
    assert paths["/v2/repository/models/{model}/load"]["post"]["security"] == [{"admin-key": []}]
    assert "security" not in paths["/v1/models"]["get"]
    assert "401" in paths["/v1/models"]["get"]["responses"]
    assert "security" not in client.get("/openapi.json").json()


def test_without_keys_nobody_needs_one_and_a_key_does_no_harm(client: TestClient) -> None:
    for headers in ({}, {"authorization": f"Bearer {KEY}"}, {"x-api-key": ""}):
        assert client.post(WORDS, json={"text": "good"}, headers=headers).status_code == 200
