"""ServedModel.predict: the whole path of a request but for HTTP."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from app.errors import DeadlineExceeded, ModelRejected, UndecodableImage
from app.tasks.image_classification.schemas import ClassificationOptions
from app.tasks.image_to_image.pipeline import ImageToImagePipeline
from app.tasks.text_classification.pipeline import TextOptions
from tests.drawing_models import scene_png, write_tinting_model
from tests.model_repository import picture, word_logits, write_colour_model, write_word_model
from tests.runtime.conftest import Load
from tests.runtime.invariance import ATOL, largest_influence

pytestmark = pytest.mark.anyio

PICTURES = [picture(colour, size) for colour, size in [("red", (40, 40)), ("grey", (90, 30)), ("blue", (33, 300))]]
TEXTS = ["good", "not bad " * 40, "the film", "bad " * 7]


async def test_items_are_answered_in_order(toy_models: Path, load: Load) -> None:
    model = load(toy_models).get("colours")
    prediction = await model.predict([picture(colour) for colour in ("blue", "red", "green")])
    assert [int(answer.probabilities.argmax()) for answer in prediction.answers] == [2, 0, 1]
    assert set(prediction.timing_ms) == {"preprocess", "infer", "total"}


async def test_an_item_may_need_several_rows(toy_models: Path, load: Load) -> None:
    model = load(toy_models).get("words")
    prediction = await model.predict(["good film", "bad"], TextOptions(explain=True))
    assert [len(answer.contributions) for answer in prediction.answers] == [2, 1]


async def test_a_wrong_item_fails_its_own_request_alone(toy_models: Path, load: Load) -> None:
    model = load(toy_models).get("colours")
    outcomes = await asyncio.gather(
        model.predict([picture()]), model.predict([b"rubbish"]), model.predict([picture()]), return_exceptions=True
    )
    assert [isinstance(outcome, UndecodableImage) for outcome in outcomes] == [False, True, False]


async def test_a_deadline_that_has_passed_runs_nothing(toy_models: Path, load: Load) -> None:
    model = load(toy_models).get("words")
    with pytest.raises(DeadlineExceeded):
        await model.predict(["good"], deadline=time.monotonic() - 1)


async def test_concurrent_requests_share_batches_and_keep_their_answers(toy_models: Path, load: Load) -> None:
    model = load(toy_models).get("words")
    texts = [" ".join(["good"] * (number % 5 + 1) + ["bad"] * (number % 3)) for number in range(60)]
    predictions = await asyncio.gather(*(model.predict([text]) for text in texts))
    for text, prediction in zip(texts, predictions, strict=True):
        logits = word_logits(*text.split())
        assert prediction.answers[0].probabilities[1] == pytest.approx(1 / (1 + np.exp(logits[0] - logits[1])), abs=1e-5)


async def test_the_default_options_are_those_of_a_bare_request(toy_models: Path, load: Load) -> None:
    repository = load(toy_models)
    assert repository.get("colours").pipeline.default_options() == ClassificationOptions()
    assert repository.get("words").pipeline.default_options() == TextOptions()


@pytest.mark.parametrize(("name", "items"), [("colours", PICTURES), ("words", TEXTS)])
def test_an_answer_does_not_depend_on_its_batch_mates(toy_models: Path, load: Load, name: str, items: list[str]) -> None:
    assert largest_influence(load(toy_models).get(name), items) <= ATOL


def test_a_text_that_goes_on_does_not_depend_on_its_batch_mates(character_models: Path, load: Load) -> None:
    assert largest_influence(load(character_models).get("sums"), ["A", "Happy families", "every " * 20]) <= ATOL


@pytest.mark.parametrize(("write", "name", "items"), [(write_colour_model, "colours", PICTURES), (write_word_model, "words", TEXTS)])
def test_the_invariance_check_catches_a_model_that_leaks(tmp_path: Path, load: Load, write: object, name: str, items: list[str]) -> None:
    write(tmp_path, leaky=True)  # type: ignore[operator]
    assert largest_influence(load(tmp_path).get(name), items) > 0.1


def test_warming_up_replays_the_golden_request(toy_models: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(toy_models).get("words")
    model.warm_up()
    answered = model.session.run
    monkeypatch.setattr(
        model.session, "run", lambda tensors, stopper=None: {name: value + 1e-3 for name, value in answered(tensors).items()}
    )
    with pytest.raises(ModelRejected, match=r"1\.0e-03 away from what was recorded at export"):
        model.warm_up()


def test_a_graph_that_answers_nan_is_refused(toy_models: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(toy_models).get("words")
    answered = model.session.run
    monkeypatch.setattr(
        model.session, "run", lambda tensors, stopper=None: {name: value * np.nan for name, value in answered(tensors).items()}
    )
    with pytest.raises(ModelRejected):
        model.warm_up()


SCENES = [scene_png(321, 257, seed) for seed in range(3)]
STYLES = [{"style": "rose"}, {"styles": "rose:1,moss:2"}, {"style": "moss", "strength": 0.5}]


@pytest.mark.parametrize("leaky", [False, True])
def test_pictures_of_different_styles_share_a_batch_and_do_not_mix(tmp_path: Path, load: Load, leaky: bool) -> None:
    write_tinting_model(tmp_path, leaky=leaky)
    model = load(tmp_path).get("tints")
    pipeline = cast(ImageToImagePipeline, model.pipeline)
    influence = largest_influence(model, SCENES, [pipeline.order(style) for style in STYLES])
    assert influence > 0.1 if leaky else influence <= ATOL


async def test_postprocessing_that_blocks_is_done_off_the_event_loop(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tinting_model(tmp_path)
    model, threads = load(tmp_path).get("tints"), []
    encode = model.pipeline.postprocess
    monkeypatch.setattr(model.pipeline, "postprocess", lambda *given: (threads.append(threading.get_ident()), encode(*given))[1])
    await model.predict([SCENES[0]])
    assert threads
    assert threading.get_ident() not in threads


async def test_the_deadline_holds_while_an_answer_is_encoded(tmp_path: Path, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tinting_model(tmp_path)
    model, encoding, go_on = load(tmp_path).get("tints"), threading.Event(), threading.Event()
    encode = model.pipeline.postprocess
    monkeypatch.setattr(model.pipeline, "postprocess", lambda *given: (encoding.set(), go_on.wait(10), encode(*given))[2])
    with pytest.raises(DeadlineExceeded):
        await model.predict([SCENES[0]], deadline=time.monotonic() + 2)
    assert encoding.is_set()
    go_on.set()
