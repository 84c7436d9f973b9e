"""The next token: what each option allows, and that no row hears of another."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.contract.sampling import DRAWS, Sampler, SamplingOptions, log_softmax, token_logprobs

V = 6
LOGITS = np.log(np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01], dtype=np.float32))
MANY = 4000


def drawn(options: SamplingOptions, count: int = MANY, logits: NDArray[np.float32] = LOGITS) -> list[int]:
    """So many tokens in a row from the same logits."""
    sampler = Sampler(1, len(logits))
    sampler.add(options)
    return [int(sampler.sample(logits[None])[0]) for _ in range(count)]


def shares(tokens: list[int]) -> NDArray[np.float64]:
    return np.bincount(tokens, minlength=V) / len(tokens)


def test_tokens_come_as_often_as_the_model_says() -> None:
    assert shares(drawn(SamplingOptions(seed=1))) == pytest.approx(np.exp(LOGITS), abs=0.025)


def test_a_temperature_is_a_power_of_the_probabilities() -> None:
    sharpened = np.exp(LOGITS) ** 2
    assert shares(drawn(SamplingOptions(temperature=0.5, seed=1))) == pytest.approx(sharpened / sharpened.sum(), abs=0.025)


def test_temperature_zero_takes_the_most_likely_and_of_two_the_first() -> None:
    assert set(drawn(SamplingOptions(temperature=0), 20)) == {0}
    assert set(drawn(SamplingOptions(temperature=0), 20, np.array([0, 2, 2, 1], dtype=np.float32))) == {1}


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        (SamplingOptions(top_k=1), {0}),
        (SamplingOptions(top_k=3), {0, 1, 2}),
        (SamplingOptions(top_k=10**40, min_p=1.0), {0}),  # more than there are is all, however many
        (SamplingOptions(top_p=0.0), {0}),
        (SamplingOptions(top_p=0.39), {0}),
        (SamplingOptions(top_p=0.41), {0, 1}),
        (SamplingOptions(top_p=0.84), {0, 1, 2}),
        (SamplingOptions(min_p=0.2), {0, 1, 2, 3}),
        (SamplingOptions(min_p=1.0), {0}),
        (SamplingOptions(top_k=2, top_p=0.6), {0, 1}),  # 0.4 of the 0.7 that top-k left is less than 0.6
        (SamplingOptions(top_k=2, top_p=0.5), {0}),
        (SamplingOptions(logit_bias={5: 100.0}), {5}),
        (SamplingOptions(logit_bias={0: -100.0, 1: -100.0}, top_k=2), {2, 3}),
    ],
    ids=str,
)
def test_a_filter_leaves_exactly_its_tokens(options: SamplingOptions, allowed: set[int]) -> None:
    seeded = SamplingOptions(**{name: getattr(options, name) for name in SamplingOptions.__slots__} | {"seed": 3})
    assert set(drawn(seeded)) == allowed


def test_of_equally_likely_tokens_top_k_keeps_the_first() -> None:
    assert set(drawn(SamplingOptions(top_k=2, seed=1), logits=np.zeros(V, dtype=np.float32))) == {0, 1}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (SamplingOptions(temperature=0, presence_penalty=0.5), [0, 1, 0, 0]),  # 0.4 e^-0.5 < 0.3, then both have paid
        (SamplingOptions(temperature=0, frequency_penalty=0.2), [0, 0, 1, 0]),  # 0.4 e^-0.4 = 0.268 < 0.3 < 0.4 e^-0.2
        (SamplingOptions(temperature=0, repetition_penalty=2.0), [0, 1, 0, 0]),  # 0.4^2 = 0.16, 0.3^2 = 0.09, 0.15
    ],
    ids=str,
)
def test_a_penalty_counts_what_was_generated(options: SamplingOptions, text: list[int]) -> None:
    assert drawn(options, 4) == text


def test_only_the_repetition_penalty_knows_the_prompt() -> None:
    def first(options: SamplingOptions) -> int:
        sampler = Sampler(1, V)
        sampler.add(options, [0, 0, 1])
        return int(sampler.sample(LOGITS[None])[0])

    assert first(SamplingOptions(temperature=0, presence_penalty=2, frequency_penalty=2)) == 0
    assert first(SamplingOptions(temperature=0, repetition_penalty=3.0)) == 2


def test_the_same_seed_gives_the_same_tokens_and_another_one_others() -> None:
    assert drawn(SamplingOptions(seed=7), 100) == drawn(SamplingOptions(seed=7), 100)
    different = [SamplingOptions(seed=7), SamplingOptions(seed=8), SamplingOptions(seed=-7), SamplingOptions(seed=7, choice=1)]
    assert len({tuple(drawn(options, 100)) for options in different}) == 4
    assert drawn(SamplingOptions(), 100) != drawn(SamplingOptions(), 100)


MIXED = [
    SamplingOptions(seed=1),
    SamplingOptions(temperature=0),
    SamplingOptions(temperature=0.7, top_k=5, seed=2),
    SamplingOptions(top_p=0.9, seed=3),
    SamplingOptions(min_p=0.05, repetition_penalty=1.3, seed=4),
    SamplingOptions(presence_penalty=1.0, frequency_penalty=0.5, logit_bias={3: 2.0}, seed=5),
    SamplingOptions(temperature=1.9, seed=6),
]


def test_a_row_draws_the_same_alone_and_among_rows_with_every_option() -> None:
    steps, vocabulary = DRAWS + 50, 84
    logits = np.random.default_rng(0).normal(0, 3, (steps, len(MIXED), vocabulary)).astype(np.float32)
    together = Sampler(len(MIXED), vocabulary)
    for options in MIXED:
        together.add(options)
    texts = np.stack([together.sample(step) for step in logits], axis=1)
    for row, options in enumerate(MIXED):
        alone = Sampler(1, vocabulary)
        alone.add(options)
        assert [int(alone.sample(step[row : row + 1])[0]) for step in logits] == texts[row].tolist(), options


def test_a_row_that_moves_takes_its_draws_and_counts_along() -> None:
    logits = np.random.default_rng(1).normal(0, 2, (40, V)).astype(np.float32)
    options = SamplingOptions(seed=9, presence_penalty=0.7)
    alone, crowded = Sampler(1, V), Sampler(4, V)
    alone.add(options)
    for other in (SamplingOptions(seed=1), SamplingOptions(temperature=0), options):
        crowded.add(other)
    expected = [int(alone.sample(step[None])[0]) for step in logits]
    chosen = [int(crowded.sample(np.stack([step] * 3))[2]) for step in logits[:10]]
    crowded.remove(0)  # the last row is the first now
    chosen += [int(crowded.sample(np.stack([step] * 2))[0]) for step in logits[10:20]]
    crowded.remove(1)
    assert crowded.add(SamplingOptions(seed=2)) == 1
    chosen += [int(crowded.sample(np.stack([step] * 2))[0]) for step in logits[20:]]
    assert chosen == expected


def test_rows_from_a_number_on_can_be_sampled_alone() -> None:
    options, logits = SamplingOptions(seed=4), np.stack([LOGITS])
    alone, second = Sampler(1, V), Sampler(2, V)
    alone.add(options)
    second.add(SamplingOptions(seed=1))
    second.add(options)
    assert [int(alone.sample(logits)[0]) for _ in range(300)] == [int(second.sample(logits, first=1)[0]) for _ in range(300)]


def test_the_least_penalty_still_leaves_numbers() -> None:
    sampler = Sampler(1, 3)
    sampler.add(SamplingOptions(temperature=0, repetition_penalty=1e-320), [1])
    assert sampler.sample(np.array([[-1.0, 1.0, 0.5]], np.float32)).tolist() == [1]


def test_logits_of_any_size_are_drawn_from() -> None:
    assert set(drawn(SamplingOptions(seed=1, temperature=1e-3), 50, np.array([1e30, -1e30, 0, 9.9e29], dtype=np.float32))) == {0}


def test_log_probabilities_are_nats_that_sum_to_one() -> None:
    logprobs = log_softmax(np.array([[1000.0, 1000.0], [0.0, np.log(3)]]))
    assert logprobs == pytest.approx(np.log([[0.5, 0.5], [0.25, 0.75]]))


def test_the_likeliest_tokens_come_first_and_ties_in_order() -> None:
    found = token_logprobs(np.stack([LOGITS, LOGITS[::-1], np.zeros(V)]), np.array([0, 0, 5]), 2)
    assert found.chosen == pytest.approx(np.log([0.4, 0.01, 1 / V]), abs=1e-6)
    assert found.top_ids.tolist() == [[0, 1], [5, 4], [0, 1]]
    assert found.top == pytest.approx(np.log([[0.4, 0.3], [0.4, 0.3], [1 / V, 1 / V]]), abs=1e-6)
