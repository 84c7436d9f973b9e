"""What a setting may be, and what is said of one that may not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.api.validation import explain
from app.settings import Settings, unknown_variables


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"host": ""}, "must be an address to listen on"),  # all interfaces, for the system
        ({"host": " 127.0.0.1"}, "without blanks"),
        ({"host": "127.0.0.1\n"}, "without blanks"),
        *(
            ({f"{name}_ms": 86_400_001}, "must be at most 86400000")
            for name in ("request_timeout", "stuck_run_timeout", "load_timeout", "drain_timeout", "stream_ping")
        ),
        ({"models": Path(__file__)}, "must be a folder that can be read: Not a directory"),
        *(({name: empty}, "must not be empty: name a folder") for name in ("models", "tensorrt_cache") for empty in ("", " ")),
        ({"tensorrt_cache": "/nowhere/at/all"}, "tensorrt_cache must be a folder that exists"),
        ({"tensorrt_cache": __file__}, "tensorrt_cache must be a folder that exists"),
    ],
)
def test_what_could_not_work_is_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(**fields)
    assert says in explain(refused.value.errors()).message


def test_a_model_repository_that_cannot_be_read_stops_the_start_also_where_it_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    assert Settings(models=Path("/nowhere/at/all")).models == Path("/nowhere/at/all")  # may come later
    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ValidationError, match="must be a folder that can be read: Permission denied"):
        Settings()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://App.Example.org:443", ("https://app.example.org",)),
        ("HTTP://localhost:80, http://localhost:8080", ("http://localhost", "http://localhost:8080")),
        ("http://localhost:443", ("http://localhost:443",)),
        ("http://[::1]:80", ("http://[::1]",)),
        ("*", ("*",)),
    ],
)
def test_origins_are_read_as_browsers_send_them(written: str, read: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXON_CORS_ORIGINS", written)
    assert Settings().cors_origins == read


@pytest.mark.parametrize(
    ("variable", "written", "says"),
    [
        ("AXON_CORS_ORIGINS", "null", "must be origins"),
        ("AXON_CORS_ORIGINS", '["https://app.example.org"]', "must be origins"),
        ("AXON_CPU_MODELS", '["anna"]', "must be names of models"),
        ("AXON_CPU_MODELS", "", "must be names of models"),
        ("AXON_MODELS", "", "must not be empty"),
    ],
)
def test_a_variable_that_is_no_list_and_an_empty_one_are_refused(
    variable: str, written: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, written)
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert says in explain(refused.value.errors()).message


@pytest.mark.parametrize(("written", "read"), [("null", ("null",)), ("123", ("123",)), ("anna, words", ("anna", "words"))])
def test_the_name_of_a_model_is_not_read_as_json(written: str, read: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXON_CPU_MODELS", written)
    assert Settings().cpu_models == read


def test_a_variable_in_small_letters_is_a_setting_and_a_slip_in_them_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXON_port", "8123")
    assert Settings().port == 8123
    assert unknown_variables(["AXON_port", "axon_HOST", "axon_data", "Axon_Prot", "AXON_SERVICE_HOST", "PATH"]) == ["Axon_Prot"]
