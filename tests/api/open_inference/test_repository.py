"""Loading and unloading while the server answers; only for whoever has the admin key."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient
from tritonclient.http import InferenceServerClient
from tritonclient.utils import InferenceServerException

from app.main import make_repository
from app.runtime.metrics import ServingMetrics
from app.server import settle
from app.settings import Settings
from tests.api.metrics_page import metric
from tests.api.open_inference.conftest import ADMIN_KEY
from tests.api.open_inference.requests import WORDS_URL, assert_refused, text_input
from tests.conftest import serve
from tests.e2e.server import running_server
from tests.model_repository import edit_manifest, write_colour_model, write_word_model

KEY = {"authorization": f"Bearer {ADMIN_KEY}"}
LOAD, UNLOAD = (f"/v2/repository/models/words/{change}" for change in ("load", "unload"))
REQUEST = {"inputs": [text_input("good")]}


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A repository of its own: these tests change it."""
    root = tmp_path / "models"
    write_word_model(root)
    write_colour_model(root)
    return root


@pytest.fixture
def admin(models: Path, key_file: Path) -> Iterator[TestClient]:
    with serve(models, admin_key_file=key_file) as client:
        yield client


def version(client: TestClient) -> str:
    return str(client.post(WORDS_URL, json=REQUEST).json()["model_version"])


def test_without_an_admin_key_nobody_changes_anything(v2: TestClient) -> None:
    for path in (LOAD, UNLOAD):
        for headers in ({}, KEY, {"authorization": "Bearer "}):
            assert_refused(v2.post(path, headers=headers), 403, "AXON_ADMIN_KEY_FILE")
    assert v2.get("/v2/models/words/ready").status_code == 200


@pytest.mark.parametrize(
    "value",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {ADMIN_KEY}", ADMIN_KEY, f"Bearer {ADMIN_KEY}x", "Bearer é".encode("latin-1")],
)
def test_without_the_key_nothing_changes(admin: TestClient, value: Any) -> None:
    for path in (LOAD, UNLOAD, "/v2/repository/models/absent/load"):
        response = admin.post(path, headers={} if value is None else {"authorization": value})
        assert_refused(response, 401, "this needs the admin key")
        assert response.headers["www-authenticate"] == "Bearer"
    assert admin.get("/v2/models/words/ready").status_code == 200


def test_a_key_may_have_any_letters(models: Path, tmp_path: Path) -> None:
    key = "schl\u00fcssel-" * 4
    (tmp_path / "key").write_text(key, encoding="utf-8")
    with serve(models, admin_key_file=tmp_path / "key") as client:
        assert client.post(LOAD, headers={"authorization": f"Bearer {key}".encode()}).status_code == 200


def test_a_model_that_is_unloaded_names_no_provider(admin: TestClient) -> None:
    sample = 'axon_execution_provider_info{actual="CPUExecutionProvider",model="words"'
    assert sample in admin.get("/metrics").text
    admin.post(UNLOAD, headers=KEY)
    assert sample not in admin.get("/metrics").text


def test_the_newest_version_takes_over(admin: TestClient, models: Path) -> None:
    assert version(admin) == "1"
    write_word_model(models, version="2")
    assert version(admin) == "1"
    response = admin.post(LOAD, headers=KEY)
    assert (response.status_code, response.content) == (200, b"")
    assert version(admin) == "2"
    assert admin.get("/v2/models/words").json()["versions"] == ["1", "2"]
    assert admin.get("/v1/models/words").json()["version"] == "2"
    assert admin.post("/v2/models/words/versions/1/infer", json=REQUEST).json()["model_version"] == "1"
    assert metric(admin, 'axon_model_ready{model="words",version="1"') == 1
    assert metric(admin, 'axon_model_ready{model="words",version="2"') == 1
    assert admin.get("/v2/health/ready").status_code == 200


def test_the_same_version_is_read_again(admin: TestClient, models: Path) -> None:
    edit_manifest(models / "words" / "1", lambda fields: fields.update(title="Another title"))
    assert admin.post(LOAD, headers=KEY).status_code == 200
    assert admin.get("/v1/models/words").json()["title"] == "Another title"
    assert metric(admin, 'axon_model_ready{model="words",version="1"') == 1


def test_a_version_that_is_refused_leaves_the_old_one_serving(admin: TestClient, models: Path) -> None:
    edit_manifest(write_word_model(models, version="2"), lambda fields: fields.update(temprature=2))
    assert_refused(admin.post(LOAD, headers=KEY), 400, "'words' was not loaded")
    assert version(admin) == "1"
    assert admin.get("/v2/health/ready").status_code == 200


def test_a_model_that_was_unloaded_is_gone_until_it_is_loaded(admin: TestClient) -> None:
    response = admin.post(UNLOAD, headers=KEY, json={"parameters": {"unload_dependents": False}})
    assert (response.status_code, response.content) == (200, b"")
    assert_refused(admin.post(WORDS_URL, json=REQUEST), 404, "available: colours")
    assert admin.get("/health/ready").json()["status"] == "ready"
    entries = {entry["name"]: entry for entry in admin.post("/v2/repository/index").json()}
    assert (entries["words"]["state"], entries["words"]["reason"]) == ("UNAVAILABLE", "not loaded")
    assert_refused(admin.post(UNLOAD, headers=KEY), 404, "available: colours")
    assert admin.post(LOAD, headers=KEY).status_code == 200
    assert version(admin) == "1"


def test_a_model_that_came_after_the_start_can_be_loaded(admin: TestClient, models: Path) -> None:
    assert_refused(admin.post("/v2/repository/models/late/load", headers=KEY), 404, "available: colours, words")
    write_word_model(models, "late")
    assert admin.post("/v2/repository/models/late/load", headers=KEY).status_code == 200
    assert admin.post("/v2/models/late/infer", json=REQUEST).status_code == 200


@pytest.mark.parametrize("name", ["..", ".", "%2e%2e%2fwords", "words%2f1", "%00", "a" * 300])
def test_a_name_leads_nowhere_else(admin: TestClient, name: str) -> None:
    assert_refused(admin.post(f"/v2/repository/models/{name}/load", headers=KEY), 404)


@pytest.mark.parametrize(
    "parameters",
    [{"config": "{}"}, {"file:1/model.onnx": "AAAA"}, {"config": "{}", "file:1/model.onnx": "AAAA"}, {"unload_dependents": True}],
)
def test_a_client_brings_no_model_of_its_own(admin: TestClient, parameters: dict[str, Any]) -> None:
    assert_refused(admin.post(LOAD, headers=KEY, json={"parameters": parameters}), 400, "a model comes from the server's own folder")


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"parameters": []}', b'{"ready": 1}'])
def test_a_body_that_is_no_request_is_refused(admin: TestClient, body: bytes) -> None:
    path = "/v2/repository/index" if b"ready" in body else LOAD
    assert_refused(admin.post(path, headers=KEY, content=body), 400)


def test_no_request_is_lost_while_models_come_and_go(admin: TestClient, models: Path) -> None:
    def ask(_: int) -> int:
        return admin.post(WORDS_URL, json={"inputs": [text_input(*["the good film"] * 8)]}).status_code

    with ThreadPoolExecutor(8) as clients:
        answers = [clients.submit(ask, number) for number in range(200)]
        for number in range(2, 6):
            write_word_model(models, version=str(number))
            assert admin.post(LOAD, headers=KEY).status_code == 200
        assert [answer.result() for answer in answers] == [200] * 200
    assert version(admin) == "5"


def test_a_replaced_model_gives_its_memory_back(models: Path, key_file: Path) -> None:
    with serve(models, admin_key_file=key_file) as client:
        gc.collect()  # what earlier tests left
        replaced = [weakref.ref(thing) for thing in gc.get_objects() if type(thing).__name__ == "OrtSession"]
        for name in ("words", "colours"):
            edit_manifest(models / name / "1", lambda fields: fields.update(title="Another title"))
            assert client.post(f"/v2/repository/models/{name}/load", headers=KEY).status_code == 200
        alive = [thing for thing in gc.get_objects() if type(thing).__name__ == "OrtSession"]
        assert len(alive) == len(replaced)
        assert sum(reference() is None for reference in replaced) == 2


def test_a_replaced_model_gives_its_memory_back_to_a_server_that_has_settled(models: Path) -> None:
    with ThreadPoolExecutor(1) as executor:
        repository = make_repository(Settings(models=models), executor, 1, ServingMetrics(), settle)
        try:
            asyncio.run(repository.start())
            assert gc.get_freeze_count() > 1000
            replaced = weakref.ref(repository.get("words"))
            edit_manifest(models / "words" / "1", lambda fields: fields.update(title="Another title"))
            asyncio.run(repository.rescan())
            assert replaced() is None
        finally:
            gc.unfreeze()


def test_tritons_client_loads_and_unloads(models: Path, key_file: Path, tmp_path: Path) -> None:
    with (
        running_server(models, tmp_path / "log", admin_key_file=key_file) as server,
        InferenceServerClient(f"127.0.0.1:{server.port}") as client,
    ):
        client.unload_model("words", headers=KEY)
        assert not client.is_model_ready("words")
        client.load_model("words", headers=KEY)
        assert client.is_model_ready("words")
        with pytest.raises(InferenceServerException, match="this needs the admin key"):
            client.unload_model("words")
        with pytest.raises(InferenceServerException, match="'config' is refused"):
            client.load_model("words", headers=KEY, config=json.dumps({}), files={"file:1/model.onnx": b"x"})
        assert ADMIN_KEY not in server.log()


@pytest.mark.parametrize(
    ("content", "says"), [(None, "file that can be read"), ("", "must hold a key"), ("  \n", "must hold a key"), ("short", "at least 16")]
)
def test_a_key_file_that_holds_no_key_stops_the_start(tmp_path: Path, content: str | None, says: str) -> None:
    from app.api.validation import explain

    path = tmp_path / "key"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(ValidationError) as refused:
        Settings(admin_key_file=path)
    assert says in explain(refused.value.errors()).message
