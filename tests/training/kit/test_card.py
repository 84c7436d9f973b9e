"""The words of cards that depend on the run."""

from __future__ import annotations

import pytest

from training.kit.card import in_words, listed
from training.recipes.skin_lesion import card as skin_card
from training.recipes.style_transfer import card as style_card
from training.recipes.style_transfer.config import Config


@pytest.mark.parametrize(("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_names_are_listed_as_in_a_sentence(names: list[str], text: str) -> None:
    assert listed(names) == text


def test_small_numbers_are_words() -> None:
    assert [in_words(number) for number in (1, 10, 1100)] == ["one", "ten", "1,100"]


def test_one_network_is_not_called_the_mean_of_two() -> None:
    assert "One network, EfficientNet-Lite0, fine-tuned" in skin_card.description(["lite0"])
    assert "The mean of two networks, EfficientNet-Lite0 and EfficientNet-Lite2, fine-tuned" in skin_card.description(["lite0", "lite2"])
    assert "seen at 160 x 160 px" in skin_card.limitations(160)[-1]


def test_a_style_models_card_has_the_figures_of_its_run() -> None:
    paintings = ["starry_night", "/home/me/my_checks.png"]
    assert style_card.title(paintings) == "Photographs in the manner of two paintings"
    assert "in the manner of The Starry Night or My checks, or of any mixture" in style_card.description(paintings)
    evaluation = {"figures": {"total_loss_over_gatys_lbfgs_50": {"value": 1.234}}, "data": {"name": "photos", "splits": {"train": 2000}}}
    limitations = style_card.limitations(Config(gatys_steps=50), evaluation)
    assert limitations[0].startswith("Its loss is 1.23 times that of Gatys' method after 50 steps")
    assert limitations[-1].startswith("Trained on 2,000 photographs; faces")
