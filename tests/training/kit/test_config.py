"""Overrides that fit, and those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

import training.recipes.skin_lesion as recipe
from training.kit.config import ConfigError, load_config
from training.recipes.skin_lesion.config import Config

TINY = Path(recipe.__path__[0]) / "presets" / "tiny.toml"


def test_an_override_may_set_one_key_of_a_section() -> None:
    assert load_config(Config, TINY, ["augmentation.zoom=0.2", "epochs=3"]).augmentation.zoom == 0.2


@pytest.mark.parametrize("override", ["epochs.x=3", "epochs.x.y=3", "seed.x=3"])
def test_a_section_that_is_a_value_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition(".")[0]):
        load_config(Config, TINY, [override])
