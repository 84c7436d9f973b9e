"""/docs, /redoc and openapi.json: complete, true, and of this machine alone."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app import tasks
from tests.api.openapi_examples import operations, send_example
from tests.character_models import write_summing_model
from tests.conftest import serve
from tests.drawing_models import write_tinting_model
from tests.model_repository import target, write_colour_model, write_word_model

ADMIN_KEY = "a key for the tests"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Toy models under the names that the examples speak of."""
    root = tmp_path_factory.mktemp("models")
    write_colour_model(root, "skin-lesion", targets=[target("melanoma", ["red"])], default_target="melanoma")
    write_word_model(root, "sentiment")
    write_summing_model(root, "anna")
    write_tinting_model(root, "style-transfer")
    key_file = tmp_path_factory.mktemp("key") / "admin-key"
    key_file.write_text(ADMIN_KEY, encoding="utf-8")
    with serve(root, admin_key_file=key_file) as client:
        yield client


def test_every_operation_succeeds_with_its_own_examples(client: TestClient) -> None:
    sent = {send_example(client, *operation, ADMIN_KEY) for operation in operations(client)}
    assert {"/v1/image-classification/{model}", "/v1/text-classification/{model}", "/v1/models/{name}"} <= sent
    assert {"/v1/image-to-image/{model}", "/v1/text-generation/{model}", "/v1/completions"} <= sent
    assert {"/v2/models/{model}/versions/{version}/infer", "/v2/repository/models/{model}/load"} <= sent


def test_every_reference_leads_somewhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(document))
    assert references
    for reference in references:
        place = document
        for name in reference.split("/"):
            assert name in place, reference
            place = place[name]


def test_every_component_has_a_name_that_openapi_allows(toy_models: Path) -> None:
    with serve(toy_models, api_keys="a-key-for-the-tests") as client:
        document = client.get("/openapi.json", headers={"x-api-key": "a-key-for-the-tests"}).json()
    components = document["components"]
    assert set(components["securitySchemes"]) == {"api-key", "X-API-Key", "admin-key"}
    for kind, named in components.items():
        for name in named:
            assert re.fullmatch(r"[a-zA-Z0-9._-]+", name), (kind, name)
    schemas = {"/v1/models": "ErrorAnswer", "/v1/completions": "OpenAIError", "/v2/models/{model}/infer": "ErrorSentence"}
    for path, schema in schemas.items():
        for operation in document["paths"][path].values():
            content = operation["responses"]["401"]["content"]["application/json"]
            assert content["schema"]["$ref"] == f"#/components/schemas/{schema}", path
            assert schema in components["schemas"]


@pytest.mark.parametrize("task", ["image-classification", "image-to-image"])
def test_the_picture_of_the_example_may_be_sent_in_every_form(client: TestClient, task: str) -> None:
    operation = client.get("/openapi.json").json()["paths"][f"/v1/{task}/{{model}}"]["post"]
    assert set(operation["requestBody"]["content"]) == {
        "application/json",
        "multipart/form-data",
        "image/jpeg",
        "image/png",
        "image/webp",
    }


def test_every_operation_says_what_it_does_and_how_it_fails(client: TestClient) -> None:
    for path, method, operation in operations(client):
        assert operation["summary"], (method, path)
        if path.startswith("/v1/") and "{model}" in path:
            assert {"404", "422", "503"} <= set(operation["responses"]), (method, path)
            for status, answer in operation["responses"].items():
                if status != "200":
                    assert answer["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorAnswer"), (method, path, status)


def test_what_is_no_json_is_described_too(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert "admin key" in document["info"]["description"]
    paths, binary = document["paths"], {"type": "string", "format": "binary", "description": "JSON, then tensors"}
    for path in ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer"):
        infer = paths[path]["post"]
        assert infer["requestBody"]["content"]["application/octet-stream"]["schema"] == binary
        assert infer["responses"]["200"]["content"]["application/octet-stream"]["schema"] == binary
        assert infer["responses"]["200"]["content"]["application/json"]["schema"]["$ref"].endswith("/InferAnswer")
        assert "Inference-Header-Content-Length" in infer["responses"]["200"]["headers"]
        assert "Inference-Header-Content-Length" in {parameter["name"] for parameter in infer["parameters"]}
    assert paths["/metrics"]["get"]["responses"]["200"]["content"] == {"text/plain": {"schema": {"type": "string"}}}
    streams = [
        answers["text/event-stream"]
        for operations in paths.values()
        for operation in operations.values()
        if "text/event-stream" in (answers := operation["responses"]["200"].get("content", {}))
    ]
    assert len(streams) == 4
    for stream in streams:
        assert "server-sent events" in stream["schema"]["description"]
        assert all(event.startswith("data: ") for event in stream["example"].split("\n\n")[:-1])


def test_options_of_a_text_are_described_where_they_may_stand(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for task, options in (
        ("text-classification", {"explain"}),
        ("text-generation", {"max_tokens", "temperature", "top_k", "top_p", "seed"}),
    ):
        described = [each for each in paths[f"/v1/{task}/{{model}}"]["post"]["parameters"] if each["in"] == "query"]
        assert {each["name"] for each in described} == options | {"version"}
        assert not any("default" in each["schema"] for each in described)  # Swagger UI would send it, beside that of the body


def test_an_operation_promises_no_error_that_it_cannot_give(client: TestClient) -> None:
    roc = client.get("/openapi.json").json()["paths"]["/v1/image-classification/{model}/roc"]["get"]
    assert set(roc["responses"]) == {"200", "404", "422", "503"}


def test_what_a_body_may_be_refused_for_is_promised_of_the_model_repository_too(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    bodies, admins = {"400", "413", "415", "429"}, {"401", "403", "404", "503"}
    for path, errors in (("/index", bodies), ("/models/{model}/load", bodies | admins), ("/models/{model}/unload", bodies | admins)):
        responses = paths[f"/v2/repository{path}"]["post"]["responses"]
        assert set(responses) == errors | {"200"}, path
        assert all(responses[status]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorSentence") for status in errors), path


def test_the_answers_fit_the_schemas_that_are_promised(client: TestClient) -> None:
    from app.tasks.image_classification.schemas import ClassificationAnswer
    from app.tasks.text_classification.schemas import TextClassificationAnswer

    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert {"ClassificationAnswer", "TextClassificationAnswer", "ErrorAnswer", "RocAnswer", "Readiness"} <= set(schemas)
    assert "HTTPValidationError" not in str(client.get("/openapi.json").json()["paths"])
    assert set(schemas["ClassificationAnswer"]["properties"]) == set(ClassificationAnswer.model_fields)
    assert set(schemas["TextClassificationAnswer"]["properties"]) == set(TextClassificationAnswer.model_fields)


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_pages_load_nothing_from_elsewhere(client: TestClient, page: str) -> None:
    response = client.get(page)
    assert response.status_code == 200
    assert response.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "http" not in response.headers["content-security-policy"]
    assets = re.findall(r"""(?:src|href)=["']([^"']+)["']""", response.text)
    assert assets
    for asset in assets:
        assert asset.startswith("/"), asset
        assert not asset.startswith("//"), asset
        assert client.get(asset).status_code == 200, asset
    assert not re.findall(r"https?://[^\s\"'<>]+", response.text)


def test_the_style_sheets_import_nothing_from_elsewhere(client: TestClient) -> None:
    for page in ("/docs", "/redoc"):
        for sheet in re.findall(r"""href=["']([^"']+\.css)["']""", client.get(page).text):
            assert not re.search(r"url\([\"']?(?:https?:)?//", client.get(sheet).text), sheet


def test_the_root_is_the_demo_page_and_its_files_are_served_with_it(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'self'")
    assets = re.findall(r"""(?:href|src)=["'](/web/[^"']+)["']""", page.text)
    assert len(assets) == 2
    for asset in assets:
        assert client.get(asset).status_code == 200, asset


def test_every_task_has_a_form_on_the_demo_page(client: TestClient) -> None:
    for task in tasks.discover():
        assert client.get(f"/web/tasks/{task.Pipeline.task}.js").status_code == 200, task.Pipeline.task


def test_an_answer_that_is_a_picture_is_described_in_each_of_its_forms(client: TestClient) -> None:
    answer = client.get("/openapi.json").json()["paths"]["/v1/image-to-image/{model}"]["post"]["responses"]["200"]
    forms = {form: content["schema"] for form, content in answer["content"].items()}
    assert list(forms) == ["image/png", "image/jpeg", "image/webp", "application/json"]  # Swagger UI asks for the first, and shows it
    assert forms.pop("application/json")["$ref"].endswith("/PictureAnswer")
    assert all(schema == {"type": "string", "format": "binary"} for schema in forms.values())
    assert set(answer["headers"]) == {"X-Model", "X-Options", "X-Image-Size", "Server-Timing"}


@pytest.mark.parametrize("task", ["image-classification", "image-to-image"])
def test_the_example_picture_is_synthetic_and_small(client: TestClient, task: str) -> None:
    operation = client.get("/openapi.json").json()["paths"][f"/v1/{task}/{{model}}"]["post"]
    assert len(operation["requestBody"]["content"]["application/json"]["example"]["image"]) < 4000


def test_the_version_is_the_packages(client: TestClient, request: pytest.FixtureRequest) -> None:
    from app import __version__

    assert client.get("/openapi.json").json()["info"]["version"] == __version__
    assert f"## [{__version__}]" in Path(request.config.rootpath, "CHANGELOG.md").read_text()
