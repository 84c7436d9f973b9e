"""Servable.infer: tensors of the graph itself, through the queue that everybody waits in."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import BadRequest, DeadlineExceeded, InputTooLarge, ModelNotReady
from tests.character_models import ids_of, summing_outputs
from tests.model_repository import GAIN, WORDS, picture, word_logits
from tests.runtime.conftest import Load

pytestmark = pytest.mark.anyio

GOOD, BAD = list(WORDS).index("good"), list(WORDS).index("bad")


def words_of(*ids: int) -> dict[str, Any]:
    return {"input_ids": np.array([ids]), "lengths": np.array([len(ids)])}


def objects(*values: bytes) -> dict[str, Any]:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return {"image": array}


async def test_tensors_and_texts_share_a_batch(toy_models: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model, runs = load(toy_models).get("words"), []
    answered = model.session.run

    def run(tensors: Any, stopper: Any = None) -> Any:
        runs.append(set(tensors["input_ids"].ravel().tolist()))
        time.sleep(0.01)  # so that the others queue
        return answered(tensors)

    monkeypatch.setattr(model.session, "run", run)
    answers = await asyncio.gather(*(work for _ in range(12) for work in (model.predict(["good"]), model.infer(words_of(BAD)))))
    assert {GOOD, BAD} in runs
    assert all(np.array_equal(answer["logits"], word_logits("bad")[None]) for answer in answers[1::2])
    assert all(answer.answers[0].probabilities[1] > 0.5 for answer in answers[::2])


async def test_more_rows_than_a_batch_come_back_in_order(toy_models: Path, load: Load) -> None:
    rows = np.array([[GOOD], [BAD]] * 15)
    answer = await load(toy_models).get("words").infer({"input_ids": rows, "lengths": np.ones(30, np.int64)})
    assert answer["logits"].tolist() == [word_logits("good").tolist(), word_logits("bad").tolist()] * 15


async def test_a_picture_and_its_pixels_answer_the_same(toy_models: Path, load: Load) -> None:
    model = load(toy_models).get("colours")
    encoded = await model.infer(objects(picture("blue")))
    bare = await model.infer({"pixel_values": model.pipeline.preprocess(picture("blue"), model.pipeline.default_options())[0][None]})
    assert np.array_equal(encoded["logits"], bare["logits"])
    assert encoded["logits"][0] == pytest.approx([0, 0, 255 * GAIN], abs=1e-4)


async def test_a_wrong_value_fails_its_own_request_alone(toy_models: Path, load: Load) -> None:
    model = load(toy_models).get("words")
    outcomes = await asyncio.gather(
        model.infer(words_of(GOOD)), model.infer(words_of(99)), model.infer(words_of(BAD)), return_exceptions=True
    )
    assert [isinstance(outcome, BadRequest) for outcome in outcomes] == [False, True, False]


async def test_a_deadline_that_has_passed_runs_nothing(character_models: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = load(character_models)
    for name, inputs in (("words", words_of(GOOD)), ("sums", step("a"))):
        monkeypatch.setattr(repository.get(name).session, "run", lambda tensors, stopper=None: pytest.fail("it ran"))
        with pytest.raises(DeadlineExceeded):
            await repository.get(name).infer(inputs, deadline=time.monotonic() - 1)


def step(text: str) -> dict[str, Any]:
    return {"input_ids": ids_of(text)[None], "lengths": np.array([len(text)]), "state": np.zeros((1, 1), np.float32)}


async def test_a_model_that_writes_answers_a_run_at_a_time_beside_its_texts(character_models: Path, load: Load) -> None:
    model = load(character_models).get("sums")
    answers = await asyncio.gather(*(model.infer(step(text)) for text in ("Anna", "a", "Happy families")))
    for answer, text in zip(answers, ("Anna", "a", "Happy families"), strict=True):
        assert answer["logits"] == pytest.approx(summing_outputs(text)["logits"])
        assert answer["next_state"] == pytest.approx(summing_outputs(text)["next_state"])


async def test_a_model_that_writes_has_a_bounded_queue_of_runs(character_models: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(character_models, max_queue_size=2).get("sums")
    answered = model.session.run
    monkeypatch.setattr(model.session, "run", lambda tensors, stopper=None: (time.sleep(0.05), answered(tensors))[1])
    outcomes = await asyncio.gather(*(model.infer(step("a")) for _ in range(12)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert 0 < len(refused) < 12
    assert {type(error).__name__ for error in refused} == {"QueueFull"}


async def test_after_a_stop_no_tensors_are_taken(character_models: Path, load: Load) -> None:
    repository = load(character_models)
    await repository.drain(1)
    for name, inputs in (("words", words_of(GOOD)), ("sums", step("a"))):
        with pytest.raises(ModelNotReady):
            await repository.get(name).infer(inputs)


async def test_more_rows_than_the_queue_holds_are_too_many(toy_models: Path, load: Load) -> None:
    model = load(toy_models, max_queue_size=4).get("words")
    with pytest.raises(InputTooLarge):
        await model.infer({"input_ids": np.full((5, 1), GOOD), "lengths": np.ones(5, np.int64)})
