"""A run's settings: defaults in one frozen dataclass, a run in a TOML preset, one change in an override."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import pydantic
from pydantic import Field

Config = TypeVar("Config")

Count = Annotated[int, Field(ge=0)]  # that may be none
Positive = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]  # of learning, and all that has to be more than nothing
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class ConfigError(ValueError):
    """A preset or an override that does not fit the recipe's config; the message lists what exists."""


def load_config(config_class: type[Config], preset: Path, overrides: list[str]) -> Config:
    """Defaults, then the preset's TOML, then `key=value` / `section.key=value` overrides, in that order."""
    if not preset.is_file():
        names = ", ".join(sorted(p.stem for p in preset.parent.glob("*.toml")))
        raise ConfigError(f"there is no preset {preset.stem!r}; this recipe has: {names}")
    values = tomllib.loads(preset.read_text())
    for override in overrides:
        _set(values, override)
    _refuse_unknown(config_class, values)
    try:
        return pydantic.TypeAdapter(config_class).validate_python(values)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        if isinstance(own := first.get("ctx", {}).get("error"), ConfigError):  # a config's own, of settings that do not go together
            raise own from None
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{key}: {first['msg']} (got {first['input']!r})") from None


def config_dict(config: Any) -> dict[str, Any]:
    """The whole config as plain JSON data (a tuple is a list), for a checkpoint or a manifest."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return plain


def refuse_other_config(trained: Mapping[str, Any] | None, config: Any, free: Collection[str], where: Path) -> None:
    """Raises ConfigError where a run goes on with other settings than it was trained with.

    `trained` is the `config_dict` of its checkpoint, None in one that does not tell. What is named in `free`, a setting, a section's
    (`net.hidden`) or a whole section, may differ, and settings that only one of the two knows may.
    """
    wanted = _flat(config_dict(config))
    for key, was in _flat(trained or {}).items():
        now = wanted.get(key, was)
        if was != now and key not in free and key.partition(".")[0] not in free:
            change = f"{key}={json.dumps(was)}, not {json.dumps(now)}"
            raise ConfigError(f"{where} was trained with {change}: leave it as it was, or give --run another folder")


def _flat(values: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    """Every setting by its dotted name: `learning_rate`, `net.hidden`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{section}{key}.") if isinstance(value, dict) else {section + key: value}
    return flat


def _set(values: dict[str, Any], override: str) -> None:
    dotted, separator, text = override.partition("=")
    if not separator:
        raise ConfigError(f"an override is written key=value, got {override!r}")
    *sections, key = dotted.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{section!r} is a value, {values!r}, and no section: {override!r} sets nothing")
    values[key] = _parse(text)


def _parse(text: str) -> Any:
    """A TOML value (`3`, `1e-3`, `true`, `[1, 2]`); anything else is a plain string."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _refuse_unknown(config_class: type, values: dict[str, Any], section: str = "") -> None:
    known = {field.name for field in fields(config_class)}
    types = get_type_hints(config_class)
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown key {section}{key!r}; known here: {', '.join(sorted(known))}")
        if is_dataclass(types[key]) and isinstance(value, dict):
            _refuse_unknown(types[key], value, f"{section}{key}.")
