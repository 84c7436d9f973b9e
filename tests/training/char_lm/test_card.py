"""The words of the cards: those of the models that ship are what an export of the same weights writes again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("torch")

from app.contract.manifest import load_manifest
from training.recipes.char_lm import card

MODELS = Path(__file__).parents[3] / "models"


@pytest.mark.parametrize("name", ["anna", "shakespeare"])
def test_the_card_of_the_model_that_ships_is_what_its_export_writes(name: str) -> None:
    shipped = load_manifest(MODELS / name / "1")
    written = card.of(name, shipped.provenance.config["net"]["layers"], shipped.provenance.trained_at)
    assert {word: getattr(shipped, word) for word in vars(written)} == vars(written)


def test_a_run_of_ones_own_is_not_told_the_history_of_another() -> None:
    written = card.of("anna", 1, datetime(2027, 1, 1, tzinfo=UTC))
    assert "LSTM of one layer, weights" in written.description
    assert card.FLATTERED in written.limitations
    assert not set(card.TOLD.values()) & set(written.limitations)
