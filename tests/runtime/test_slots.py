"""The rows of live sequences: on a real LSTM of the shipped size, a text does not depend on who else is there."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from app.contract.sampling import SamplingOptions
from app.runtime.session import OrtSession, Stopper, Tensors
from app.runtime.slots import GenerationRequest, Row, Slots
from tests.character_models import ALPHABET, drawn_text, ids_of, most_likely_text, write_lstm_model, write_summing_model

CAPACITY = 64
PROMPTS = ["A", "Happy families are all alike", "every " * 20, "x" * 65, "To be, or not to be"]


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> OrtSession:
    return OrtSession(write_lstm_model(tmp_path_factory.mktemp("lstm"), layers=2, hidden=512) / "model.onnx")


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> OrtSession:
    return OrtSession(write_summing_model(tmp_path_factory.mktemp("sums")) / "model.onnx")


def slots_of(session: OrtSession, capacity: int = CAPACITY, chunk_tokens: int = 16) -> Slots:
    (_, shape) = session.signature()[0]["state"]
    return Slots(session, capacity, shape[1:], len(ALPHABET), chunk_tokens)


def asked(prompt: str, seed: int, max_tokens: int = 40) -> GenerationRequest:
    return GenerationRequest(ids_of(prompt), max_tokens, SamplingOptions(seed=seed))


def read_all(slots: Slots, rows: list[Row]) -> dict[int, list[int]]:
    """Read the prompts to their ends; the first token of each row, by its id()."""
    texts: dict[int, list[int]] = {}
    while waiting := [row for row in rows if not row.is_read]:
        for row, progress in zip(waiting, slots.read(waiting), strict=True):
            if progress.generated is not None:
                texts[id(row)] = progress.generated.ids.tolist()
    return texts


def step_all(slots: Slots, texts: dict[int, list[int]], steps: int) -> None:
    rows = list(slots.live)
    for row, progress in zip(rows, slots.step(steps, 60), strict=True):
        assert progress.generated is not None
        texts[id(row)] += progress.generated.ids.tolist()


def alone(session: OrtSession, request: GenerationRequest) -> list[int]:
    slots = slots_of(session)
    row = slots.row(request)
    texts = read_all(slots, [row])
    step_all(slots, texts, request.max_tokens - 1)
    return texts[id(row)]


def test_the_same_seed_gives_the_same_text_alone_and_among_63_others(lstm: OrtSession) -> None:
    slots, requests = slots_of(lstm), [asked(PROMPTS[index % len(PROMPTS)], seed=index) for index in range(CAPACITY)]
    rows = [slots.row(request) for request in requests]
    texts = read_all(slots, rows[:40])
    step_all(slots, texts, 5)
    texts |= read_all(slots, rows[40:])  # these come later, so the batches have many sizes
    step_all(slots, texts, 39 - 5)
    for row in rows[:30]:
        slots.remove(row)
    step_all(slots, texts, 5)
    for index in (0, 7, 39, 40, 63):
        assert texts[id(rows[index])][:40] == alone(lstm, requests[index])
    assert len({tuple(text) for text in texts.values()}) > 60


def test_this_machines_kernels_keep_a_rows_bits_whatever_the_batch(lstm: OrtSession) -> None:
    assert slots_of(lstm).make_independent()


class DependsOnTheShape:
    """A session whose bits change with the number of rows, or of tokens with their padding, as those of other kernels may."""

    requested_provider = actual_provider = "none"

    def __init__(self, session: OrtSession, axis: int) -> None:
        self._session = session
        self._axis = axis

    def run(self, tensors: Mapping[str, NDArray[np.generic]], stopper: Stopper | None = None) -> Tensors:
        outputs = self._session.run(tensors)
        return {name: value + np.float32(1e-3 * tensors["input_ids"].shape[self._axis]) for name, value in outputs.items()}


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "padding"])
def test_where_they_do_not_every_run_gets_the_same_shape(sums: OrtSession, axis: int) -> None:
    session = DependsOnTheShape(sums, axis)
    slots = Slots(session, 8, (1,), len(ALPHABET), 16)
    assert not slots.make_independent()
    shapes = set()
    session.run = lambda tensors, stopper=None: shapes.add(tensors["input_ids"].shape) or sums.run(tensors)  # type: ignore[method-assign]
    rows = [slots.row(asked(prompt, seed=1)) for prompt in ("Alone", "and not", "x")]
    texts = read_all(slots, rows[:1])
    step_all(slots, texts, 3)
    texts |= read_all(slots, rows[1:])
    step_all(slots, texts, 3)
    assert shapes == {(8, 16), (8, 1)}  # a chunk of prompts, a step
    written = "".join(ALPHABET[index] for index in texts[id(rows[1])])
    assert written == drawn_text("and not", 4, SamplingOptions(seed=1))


@pytest.mark.parametrize("chunk_tokens", [1, 3, 7, 64])
def test_a_prompt_in_chunks_is_the_prompt(sums: OrtSession, chunk_tokens: int) -> None:
    slots = slots_of(sums, chunk_tokens=chunk_tokens)
    rows = [slots.row(GenerationRequest(ids_of(prompt), 9, SamplingOptions(temperature=0))) for prompt in PROMPTS]
    texts = read_all(slots, rows)
    step_all(slots, texts, 8)
    for row, prompt in zip(rows, PROMPTS, strict=True):
        assert "".join(ALPHABET[index] for index in texts[id(row)]) == most_likely_text(prompt, 9)


@pytest.mark.parametrize("chunk_tokens", [1, 4, 64])
def test_a_scored_prompt_has_the_log_probability_of_every_token_but_the_first(sums: OrtSession, chunk_tokens: int) -> None:
    prompt = "ba" + most_likely_text("ba", 5) + "zz"
    slots = slots_of(sums, chunk_tokens=chunk_tokens)
    row = slots.row(GenerationRequest(ids_of(prompt), 0, SamplingOptions(), logprobs=1, score_prompt=True))
    ids, chosen, likeliest = [], [], []
    while not row.is_read:
        (progress,) = slots.read([row])
        assert progress.prompt is not None
        assert progress.prompt.logprobs is not None
        ids += progress.prompt.ids.tolist()
        chosen += progress.prompt.logprobs.chosen.tolist()
        likeliest += progress.prompt.logprobs.top_ids[:, 0].tolist()
    assert ids == ids_of(prompt)[1:].tolist()
    assert [logprob > -1 for logprob in chosen] == [index == best for index, best in zip(ids, likeliest, strict=True)]
    assert [logprob > -1 for logprob in chosen] == [False, *[True] * 5, False, False]
    assert slots.live == []  # nothing was to be generated


def test_a_burst_ends_when_it_is_interrupted_or_its_time_is_over(sums: OrtSession, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = slots_of(sums)
    texts = read_all(slots, [slots.row(asked("A", seed=1, max_tokens=10**6))])
    (text,) = texts.values()
    slots.interrupt()
    step_all(slots, texts, 10**6)
    assert len(text) == 1 + 1
    slots.resume()
    monkeypatch.setattr("app.runtime.slots.time", SimpleNamespace(perf_counter=count().__next__))  # a step takes a second
    (progress,) = slots.step(10**6, 50)
    assert progress.generated is not None
    assert len(progress.generated.ids) == 50
