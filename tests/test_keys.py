"""How keys are written, and what makes the server refuse to start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.keys import digest_of, holder_of, parse_keys
from app.settings import Settings

ONE, OTHER = "one-key-of-16-and-more", "other-key-0123456789"


def names(text: str) -> list[str]:
    return [key.name for key in parse_keys(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ONE, ["1"]),
        (f"{ONE},{OTHER}", ["1", "2"]),
        (f"  {ONE} , {OTHER} ,\n", ["1", "2"]),
        (f"{ONE}\r\n\n# a comment, with a comma\n{OTHER}\n", ["1", "2"]),
        (f"ci:{ONE}\n{OTHER}\n", ["ci", "2"]),
        ("a" * 16, ["1"]),
        ("A.b_c~d+e/f=g-0123", ["1"]),
    ],
)
def test_keys_stand_on_lines_or_between_commas_and_may_have_names(text: str, expected: list[str]) -> None:
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must hold a key"),
        ("  \n# nothing\n,", "must hold a key"),
        ("a" * 15, "16 to 256"),
        ("a" * 257, "16 to 256"),
        (f"{ONE}, short", "key 2 is another"),
        ("with a space in it, and a comma", "16 to 256"),
        ("schlüssel-mit-umlaut", "16 to 256"),
        (f"Big Name:{ONE}", "must have names"),
        (f":{ONE}", "must have names"),
        (f"{ONE},{ONE}", "twice"),
        (f"a:{ONE}\nb:{ONE}", "twice"),
        (f"a:{ONE}\na:{OTHER}", "one name"),
        (f"2:{ONE}\n{OTHER}", "one name"),
    ],
)
def test_what_is_no_key_is_refused_and_not_repeated(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        parse_keys(text)
    assert ONE not in str(refused.value)
    assert "short" not in str(refused.value)


def test_only_digests_are_kept() -> None:
    (key,) = parse_keys(f"ci:{ONE}")
    assert key.digest == digest_of(ONE.encode())
    assert ONE not in repr(key)


def test_a_key_is_found_wherever_it_stands_and_nothing_else_is() -> None:
    keys = parse_keys(f"a:{ONE}\nb:{OTHER}")
    assert holder_of(ONE.encode(), keys) == "a"
    assert holder_of(OTHER.encode(), keys) == "b"
    for given in (b"", b"one", ONE.encode() + b"x", ONE[:-1].encode(), ONE.upper().encode(), b"\xff" * 1000, keys[0].digest):
        assert holder_of(given, keys) is None


def settings(tmp_path: Path, **texts: str) -> Settings:
    """Fields that end in _file name a file with that text."""
    fields: dict[str, Any] = {}
    for name, text in texts.items():
        fields[name] = text
        if name.endswith("_file"):
            fields[name] = tmp_path / name
            fields[name].write_text(text, encoding="utf-8")
    return Settings(**fields)


def test_the_keys_of_the_variable_and_of_the_file_are_both_taken_and_numbered_through(tmp_path: Path) -> None:
    both = settings(tmp_path, api_keys=ONE, api_keys_file=f"{OTHER}\n")
    assert [key.name for key in both.client_keys()] == ["1", "2"]
    assert Settings().client_keys() == ()


def test_settings_do_not_show_a_key(tmp_path: Path) -> None:
    assert ONE not in repr(settings(tmp_path, api_keys=ONE))


@pytest.mark.parametrize(
    ("texts", "field", "says"),
    [
        ({"api_keys": ""}, "api_keys", "must hold a key"),
        ({"api_keys": "short"}, "api_keys", "16 to 256"),
        ({"api_keys_file": "# none yet\n"}, "api_keys_file", "must hold a key"),
        ({"api_keys_file": f"{ONE}\n{ONE}\n"}, "api_keys_file", "twice"),
        ({"api_keys": ONE, "api_keys_file": ONE}, "api_keys_file", "twice"),
        ({"api_keys": f"ci:{ONE}", "api_keys_file": f"ci:{OTHER}"}, "api_keys_file", "one name"),
        ({"api_keys": ONE, "admin_key_file": f"{ONE}\n"}, "admin_key_file", "key of its own"),
        ({"api_keys_file": f"ci:{ONE}", "admin_key_file": ONE}, "admin_key_file", "key of its own"),
        ({"admin_key_file": "short"}, "admin_key_file", "at least 16 bytes"),
        ({"admin_key_file": f"# the administrator's\n{ONE}\n"}, "admin_key_file", "the key alone, on one line"),
        ({"admin_key_file": f"# {ONE}\n"}, "admin_key_file", "the key alone, on one line"),
        ({"admin_key_file": f"ops:{ONE}\n"}, "admin_key_file", "the key alone, on one line"),
        ({"api_keys": f"admin:{ONE}"}, "api_keys", "must not call a client 'admin', as key 1 does"),
        ({"cors_origins": "example.org"}, "cors_origins", "must be origins"),
        ({"cors_origins": "https://example.org/"}, "cors_origins", "must be origins"),
        ({"cors_origins": "null"}, "cors_origins", "must be origins"),
        ({"cors_origins": ""}, "cors_origins", "must be origins"),
        ({"cors_origins": "https://example.org:0443"}, "cors_origins", "must be origins"),
    ],
)
def test_a_wrong_key_or_origin_stops_the_start(tmp_path: Path, texts: dict[str, str], field: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says) as refused:
        settings(tmp_path, **texts)
    assert refused.value.errors()[0]["loc"] == (field,)
    assert ONE not in str(refused.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe not text at all"])
def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_bytes(content)
    for field in ("api_keys_file", "admin_key_file"):
        with pytest.raises(ValidationError):
            Settings(**{field: file})
