"""Scores and samples of a reader whose answers are known by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("torch")

from app.contract.text import CharacterProcessor
from training.recipes.char_lm import samples
from training.recipes.char_lm.scoring import Floats, Ids, Reader, carried, mean_interval, side_by_side, windowed

CHARACTERS = "\nabc"


def read_counting(ids: Ids, state: Floats) -> tuple[Floats, Floats]:
    """Expects the number of characters read so far, modulo four, with weight 3 to 1, 1, 1: right every second time at best."""
    places = (state + np.arange(1, ids.shape[1] + 1)).astype(int)  # (B, 1) + (T,) -> (B, T)
    logits = np.log(np.where(np.arange(4) == (places % 4)[..., None], 3.0, 1.0)).astype(np.float32)
    return logits, state + ids.shape[1]


COUNTING = Reader(read_counting, (1,))
RIGHT, WRONG = -math.log(3 / 6), -math.log(1 / 6)


def test_the_carried_state_reaches_the_end_of_the_text() -> None:
    ids = np.arange(1_000) % 4  # after n characters comes n % 4: right only where no state was lost
    nats = carried(COUNTING, ids)
    assert nats.shape == (999,)
    np.testing.assert_allclose(nats, RIGHT, rtol=1e-6)


def test_a_window_begins_without_a_state_and_every_character_of_it_is_scored() -> None:
    ids = np.arange(61) % 4
    np.testing.assert_allclose(windowed(COUNTING, ids, block=20), RIGHT, rtol=1e-6)  # 20 % 4 == 0: each window counts right again
    nats = windowed(COUNTING, ids, block=10)  # the second window begins at 10 % 4 == 2
    assert nats.shape == (60,)
    np.testing.assert_allclose(nats.reshape(6, 10)[::2], RIGHT, rtol=1e-6)
    np.testing.assert_allclose(nats.reshape(6, 10)[1::2], WRONG, rtol=1e-6)


def test_parts_side_by_side_begin_without_a_state_each() -> None:
    nats = side_by_side(COUNTING, np.arange(22) % 4, streams=2).reshape(2, 10)
    np.testing.assert_allclose(nats[0], RIGHT, rtol=1e-6)
    np.testing.assert_allclose(nats[1], WRONG, rtol=1e-6)


def test_the_interval_holds_the_mean_and_is_wider_where_blocks_differ() -> None:
    draw = np.random.default_rng(0)
    even = draw.normal(1.3, 1, 50_000)
    uneven = even + np.repeat(draw.normal(0, 0.5, 50), 1_000)
    narrow, wide = mean_interval(even), mean_interval(uneven)
    assert narrow.low < even.mean() < narrow.high
    assert wide.high - wide.low > 5 * (narrow.high - narrow.low)


def test_a_greedy_sample_is_what_the_reader_expects() -> None:
    tokenizer = CharacterProcessor(characters=CHARACTERS).load()
    assert samples.write(COUNTING, tokenizer, "\n", 2, 7, temperature=0.0) == ["abc\nabc"] * 2


def test_samples_differ_from_one_another_and_are_the_same_again() -> None:
    tokenizer = CharacterProcessor(characters=CHARACTERS).load()
    first, again = (samples.write(COUNTING, tokenizer, "\n", 3, 40, temperature=1.0) for _ in range(2))
    assert first == again
    assert len(set(first)) == 3


def test_the_questions_about_a_sample_have_known_answers() -> None:
    training_text = "The cat sat on the mat. It isn't late."
    vocabulary = frozenset(samples.words(training_text))
    assert vocabulary == {"the", "cat", "sat", "on", "mat", "it", "isn't", "late"}
    assert samples.real_words(["The dog sat", "it isn't blue"], vocabulary) == pytest.approx(4 / 6)
    assert samples.distinct_share(["a b a b", "a b"], 1) == pytest.approx(2 / 6)
    assert samples.distinct_share(["a b a b", "a b"], 2) == pytest.approx(2 / 4)  # a b, b a, a b; a b
    assert samples.longest_copy(["a cat sat up", "on the m"], training_text) == len(" cat sat ")
