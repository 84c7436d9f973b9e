"""A server with API keys, as real clients meet it."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

from tests.character_models import most_likely_text, write_summing_model
from tests.e2e.browser import HOST, Browser, chromium, missing_program
from tests.e2e.server import ROOT, RunningServer, environment, running_server
from tests.model_repository import write_word_model

KEY, ADMIN_KEY = "key-of-the-continuous-integration", "key-of-the-operator-0001"
RAW_PATHS = (  # as they are: a client's library would tidy them up
    "/health/live/../../metrics",
    "/health/../metrics",
    "//metrics",
    "/%6detrics",
    "/web/../metrics",
    "/health/live?x=/metrics",
    "/health/live%00",
    "/health/live#",
    "*",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root, secrets = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("secrets")
    write_summing_model(root)
    write_word_model(root)
    keys, admin = secrets / "keys", secrets / "admin"
    keys.write_text(f"# who asks\nci:{KEY}\n", encoding="utf-8")
    admin.write_text(f"{ADMIN_KEY}\n", encoding="utf-8")
    settings = {"api_keys_file": keys, "admin_key_file": admin, "log_format": "json", "public_pages": True, "cores": 1}
    with running_server(root, tmp_path_factory.mktemp("server") / "log", **settings) as server:
        yield server


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"api_keys": "short"}, "AXON_API_KEYS: api_keys must hold keys of 16 to 256 letters"),
        ({"api_keys": ""}, "AXON_API_KEYS: api_keys must hold a key, or not be set"),
        ({"api_keys_file": "/absent"}, "AXON_API_KEYS_FILE: api_keys_file must be a file that can be read"),
        ({"api_keys": f"{KEY},{KEY}"}, "AXON_API_KEYS: api_keys must not hold a key twice"),
        ({"cors_origins": "example.org"}, "AXON_CORS_ORIGINS: cors_origins must be origins"),
        ({"rate_limit_per_minute": 0}, "AXON_RATE_LIMIT_PER_MINUTE: rate_limit_per_minute must be at least 1"),
    ],
)
def test_with_a_wrong_key_the_server_does_not_start_and_says_why(settings: dict[str, object], says: str) -> None:
    command = [sys.executable, "-m", "app", "serve"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment(**settings))
    assert done.returncode == 1
    assert done.stderr.startswith(f"axon: {says}")
    assert len(done.stderr.splitlines()) == 1
    assert KEY not in done.stderr


def with_key(server: RunningServer, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.address}/v1", api_key=key, max_retries=0)


def test_openais_client_is_answered_with_the_key_and_told_so_without(server: RunningServer) -> None:
    with with_key(server, KEY) as client:
        completion = client.completions.create(model="sums", prompt="Happy", max_tokens=12, temperature=0)
        assert completion.choices[0].text == most_likely_text("Happy", 12)
        streamed = client.completions.create(model="sums", prompt="Happy", max_tokens=12, temperature=0, stream=True)
        assert "".join(chunk.choices[0].text for chunk in streamed) == most_likely_text("Happy", 12)
        assert [model.id for model in client.models.list()] == ["sums", "words"]
    for key in ("sk-of-another-server", ADMIN_KEY):
        with with_key(server, key) as client:
            for ask in (lambda: client.completions.create(model="sums", prompt="Happy"), client.models.list):
                with pytest.raises(openai.AuthenticationError) as refused:
                    ask()
                assert refused.value.code == "invalid_api_key"


def test_tritons_client_is_answered_with_the_key_and_told_so_without(server: RunningServer) -> None:
    with InferenceServerClient(server.address.removeprefix("http://")) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert not client.is_model_ready("words")
        with pytest.raises(InferenceServerException, match="this needs an API key"):
            client.get_server_metadata()
        for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-API-Key": KEY}):
            assert client.get_model_metadata("words", headers=headers)["name"] == "words"
        client.load_model("words", headers={"Authorization": f"Bearer {ADMIN_KEY}"})
        with pytest.raises(InferenceServerException, match="this needs the admin key"):
            client.load_model("words", headers={"Authorization": f"Bearer {KEY}"})


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_curl_is_answered_with_the_key_in_either_header(server: RunningServer) -> None:
    def status(*arguments: str) -> str:
        command = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", *arguments, f"{server.address}/v1/models"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout

    assert status() == "401"
    assert status("--oauth2-bearer", KEY) == status("--header", f"X-API-Key: {KEY}") == "200"
    assert status("--user", f"user:{KEY}") == "401"


@pytest.mark.parametrize("path", RAW_PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST"])
def test_no_way_of_writing_a_path_leads_round_the_gate(server: RunningServer, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    assert b"axon_" not in body
    if path.partition("?")[0] not in ("/health/live", "/health/live#"):
        assert response.status in (400, 401, 404, 405), body  # 404, 405: it was taken for a file of the demo page


def test_an_unknown_client_can_send_a_large_body_and_still_hears_that_it_needs_a_key(server: RunningServer) -> None:
    response = httpx2.post(f"{server.address}/v1/text-classification/words", content=b"x" * 3_000_000, timeout=30)
    assert (response.status_code, response.json()["error"]["type"]) == (401, "invalid_api_key")


def test_the_log_names_the_client_and_never_its_key(server: RunningServer) -> None:
    headers = {"x-request-id": "log-1", "authorization": f"Bearer {KEY}"}
    httpx2.get(f"{server.address}/v1/models?token={KEY}", headers=headers)
    httpx2.get(f"{server.address}/v1/models", headers={"x-request-id": "log-2", "x-api-key": "a-wrong-key-0123456789"})
    lines = {line.get("request_id"): line for line in map(json.loads, server.log("log-2").splitlines())}
    assert (lines["log-1"]["client"], lines["log-1"]["status"]) == ("ci", 422)  # there is no option `token`
    assert lines["log-2"]["status"] == 401
    assert "client" not in lines["log-2"]
    for secret in (KEY, ADMIN_KEY, "a-wrong-key"):
        assert secret not in server.log()


def test_behind_a_proxy_of_this_machine_each_address_has_its_own_limit(toy_models: Path, tmp_path: Path) -> None:
    with running_server(toy_models, tmp_path / "log", rate_limit_per_minute=2, cores=1) as server:

        def statuses(client: str) -> list[int]:
            return [httpx2.get(f"{server.address}/v1/models", headers={"x-forwarded-for": client}).status_code for _ in range(3)]

        assert statuses("192.0.2.1") == [200, 200, 429]
        assert statuses("192.0.2.2") == [200, 200, 429]
        assert statuses("2001:db8::1") == [200, 200, 429]
        assert statuses("2001:db8::2") == [429, 429, 429]  # the same network


def test_openais_client_waits_as_long_as_it_is_told_and_is_let_in(toy_models: Path, tmp_path: Path) -> None:
    with (
        running_server(toy_models, tmp_path / "log", rate_limit_per_minute=60, cores=1) as server,
        openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=1) as client,
    ):
        started = time.monotonic()
        for _ in range(62):
            assert client.models.list().data
        assert time.monotonic() - started > 0.9


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


no_browser = pytest.mark.skipif(missing_program() is not None, reason=f"NOT TESTED: {missing_program()} is not installed")


@no_browser
def test_the_demo_page_asks_for_the_key_and_works_with_it(browser: Browser, server: RunningServer) -> None:
    def enter(key: str) -> None:
        browser.find("#panel form:not([data-used])")
        browser.run("document.querySelector('#panel input').value = arguments[0]", key)
        browser.run("document.querySelector('#panel form').dataset.used = true")
        browser.click("#panel button")

    browser.open(f"http://{HOST}:{server.port}/#words")
    assert browser.text("#panel .error").startswith("this needs an API key")
    enter("a-wrong-key-0123456789")
    browser.find("#panel form:not([data-used])")  # it is asked for again
    assert browser.text("#panel .error") == "the API key is not one of this server's"
    assert browser.run("return document.body.dataset.model ?? null") is None
    enter(KEY)
    browser.find("body[data-model='words']")
    browser.run("document.querySelector('textarea').value = 'good'")
    browser.click("#panel button")
    browser.find("#panel .bars")
    browser.run("location.hash = '#sums'")
    browser.find("body[data-model='sums']")
    browser.click("#panel button")
    browser.find("#panel button.second[disabled]")
    assert browser.run("return document.querySelector('.generated').textContent.length") > 1


@no_browser
def test_swagger_ui_has_a_button_for_the_key_and_sends_it(browser: Browser, server: RunningServer) -> None:
    def status_of(operation: str) -> str:
        block = f".opblock[id*='-{operation}_']"
        browser.click(f"{block} .opblock-summary")
        browser.click(f"{block} .try-out__btn")
        browser.click(f"{block} .execute")
        return browser.text(f"{block} .live-responses-table tr.response .response-col_status")

    browser.open(f"http://{HOST}:{server.port}/docs")
    assert status_of("metrics_metrics").startswith("401")
    browser.click(".btn.authorize")
    browser.press(".auth-container input", KEY)
    browser.click(".auth-btn-wrapper .authorize")
    browser.click(".auth-btn-wrapper .btn-done")
    assert status_of("list_models_v1").startswith("200")
