"""docs/operations.md tells the truth: its settings and defaults are the code's."""

from __future__ import annotations

import re
from pathlib import Path

from app.http_head import MAX_HEAD_BYTES
from app.runtime.metrics import ServingMetrics
from app.settings import Settings

FILE = Path(__file__).parents[2] / "docs" / "operations.md"
TEXT = FILE.read_text(encoding="utf-8")
CAPS = re.findall(r"^\| (?P<what>[^|]+) \| (?P<setting>[^|]+) \| (?P<default>[^|]+) \| [^|]+ \|$", TEXT, re.MULTILINE)


def test_every_setting_that_is_named_exists() -> None:
    named = set(re.findall(r"AXON_([A-Z_]+)", TEXT))
    assert {name.lower() for name in named} - set(Settings.model_fields) == set()


def test_the_caps_have_the_defaults_of_the_settings() -> None:
    rows = {(setting.strip("`"), default.strip("`")) for _, setting, default in CAPS if setting.startswith("`AXON_")}
    assert len(rows) > 10
    for setting, default in rows:
        value = Settings.model_fields[setting.removeprefix("AXON_").lower()].default
        assert default == ("none" if value is None else str(value)), setting


def test_every_setting_that_is_a_cap_is_among_them() -> None:
    caps = {
        name
        for name in Settings.model_fields
        if name.startswith(("max_", "rate_limit")) or name in ("request_timeout_ms", "stuck_run_timeout_ms", "load_timeout_ms")
    }
    assert {f"AXON_{name.upper()}" for name in caps} == {setting.strip("`") for _, setting, _ in CAPS if "AXON_" in setting}


def test_the_caps_without_a_setting_are_the_codes() -> None:
    from app.api.bodies import MAX_FORM_FIELDS, MAX_JSON_VALUES
    from app.api.validation import MAX_COLLECTIONS
    from app.tasks.text_classification.endpoints import MAX_EXPLAINED_TEXTS
    from app.tasks.text_generation.schemas import MAX_STOP_CHARS, MAX_STOPS

    fixed = {what: default for what, setting, default in CAPS if setting == "-"}
    assert fixed["the request's line and headers"] == f"{MAX_HEAD_BYTES:,} bytes"
    assert fixed["a form: one file, and fields"] == str(MAX_FORM_FIELDS)
    assert fixed["values in the JSON that brings a picture"] == str(MAX_JSON_VALUES)
    assert fixed["lists and objects in JSON"] == f"{MAX_COLLECTIONS:,}"
    assert fixed["texts that are explained"] == str(MAX_EXPLAINED_TEXTS)
    assert fixed["stop strings, and characters of each"] == f"{MAX_STOPS} and {MAX_STOP_CHARS}"


def test_the_table_of_metrics_is_what_the_server_measures() -> None:
    families = {family.name + ("_total" if family.type == "counter" else ""): family for family in ServingMetrics().registry.collect()}
    named = set(re.findall(r"`((?:axon|process)_\w+)`", TEXT))
    assert named - set(families) == set()
    assert {name for name in families if name.startswith("axon_")} - named == set()
