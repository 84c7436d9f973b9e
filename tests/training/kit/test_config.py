"""Overrides that fit, and those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

import training.recipes.skin_lesion as recipe
from training.kit.config import ConfigError, config_dict, load_config, refuse_other_config
from training.recipes.skin_lesion.config import Config

TINY = Path(recipe.__path__[0]) / "presets" / "tiny.toml"


def test_an_override_may_set_one_key_of_a_section() -> None:
    assert load_config(Config, TINY, ["augmentation.zoom=0.2", "epochs=3"]).augmentation.zoom == 0.2


@pytest.mark.parametrize("override", ["epochs.x=3", "epochs.x.y=3", "seed.x=3"])
def test_a_section_that_is_a_value_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match=override.partition(".")[0]):
        load_config(Config, TINY, [override])


@pytest.mark.parametrize(
    "override",
    ["epochs=-3", "batch_size=0", "batch_size=15", "learning_rate=-1", "learning_rate=nan", "test_share=0.6", "augmentation.zoom=-0.1"],
)
def test_a_number_that_means_nothing_is_refused(override: str) -> None:
    name, _, value = override.partition("=")
    with pytest.raises(ConfigError, match=rf"^{name}: .*{value.removesuffix('nan')}"):
        load_config(Config, TINY, [override])


def test_a_run_may_go_on_otherwise_only_where_that_is_free() -> None:
    trained, now = (load_config(Config, TINY, [f"epochs={n}", f"augmentation.zoom=0.{n}"]) for n in (2, 3))
    refuse_other_config(config_dict(trained), now, ("epochs", "augmentation"), Path("RUN"))
    with pytest.raises(ConfigError, match=r"RUN was trained with augmentation.zoom=0.2, not 0.3: .* --run another folder"):
        refuse_other_config(config_dict(trained), now, ("epochs",), Path("RUN"))


def test_a_checkpoint_that_does_not_tell_or_knows_other_settings_goes_on() -> None:
    now = load_config(Config, TINY, [])
    refuse_other_config(None, now, (), Path("RUN"))
    refuse_other_config(config_dict(now) | {"gone": 1}, now, (), Path("RUN"))
