"""Prompts to ids, tokens to texts, and manifests that cannot be served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.contract.manifest import load_manifest
from app.contract.sampling import TokenLogprobs
from app.errors import InvalidOption, ModelRejected
from app.runtime.slots import Tokens
from app.tasks.text_generation import Pipeline
from app.tasks.text_generation.pipeline import GeneratedText, Piece, Texts
from tests.character_models import ALPHABET, ids_of, write_summing_model
from tests.model_repository import edit_manifest, write_word_model

pytestmark = pytest.mark.anyio


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    folder = write_summing_model(tmp_path)
    return Pipeline.load(load_manifest(folder), folder)


def tokens(text: str, *, scored: bool = False) -> Tokens:
    ids = ids_of(text)
    logprobs = TokenLogprobs(-np.arange(1.0, len(ids) + 1), ids[:, None] * 0, np.full((len(ids), 1), -0.5)) if scored else None
    return Tokens(ids, logprobs)


def text_of(pipeline: Pipeline, *stops: str, echo: str = "", scored: bool = False) -> GeneratedText:
    return GeneratedText(pipeline.tokenizer, stops, asyncio.Event(), echo, scored)


def test_a_prompt_is_its_characters(pipeline: Pipeline) -> None:
    assert pipeline.preprocess("Ab\n")[0].tolist() == ids_of("Ab\n").tolist()


def test_an_empty_prompt_starts_a_new_line(pipeline: Pipeline) -> None:
    assert pipeline.preprocess("")[0].tolist() == [ALPHABET.index("\n")]


def test_an_unknown_character_is_named_not_replaced(pipeline: Pipeline) -> None:
    with pytest.raises(InvalidOption, match="'é', '7'") as refused:
        pipeline.preprocess("café 7")
    assert refused.value.param == "prompt"


async def test_a_text_comes_in_pieces_without_its_stop(pipeline: Pipeline) -> None:
    text = text_of(pipeline, "END")
    assert text.take() is None
    assert not text.put(tokens("one E"))
    assert text.take() == Piece("one ")
    assert text.take() is None
    assert text.put(tokens("ND two"))
    text.end("stop")
    last = text.take()
    assert last is not None
    assert (last.text, last.finish_reason, text.tokens) == ("", "stop", len("one END"))


async def test_log_probabilities_go_with_their_characters(pipeline: Pipeline) -> None:
    text = text_of(pipeline, "xy", echo="Abc", scored=True)
    first = text.take()
    assert first is not None
    assert (first.text, [info.logprob for info in first.infos]) == ("A", [None])  # nothing foretells it; the rest is not scored yet
    text.put_prompt(tokens("bc", scored=True))
    text.put(tokens("dex", scored=True))
    second = text.take()
    assert second is not None
    assert (second.text, [info.logprob for info in second.infos]) == ("bcde", [-1, -2, -1, -2])
    text.end("length")
    last = text.take()
    assert last is not None
    assert (last.text, [info.logprob for info in last.infos]) == ("x", [-3])
    assert text.logprob_sum == -6
    assert last.infos[0].top == {"\n": -0.5, "x": -3}


async def test_a_failed_text_raises_what_the_run_failed_with(pipeline: Pipeline) -> None:
    changed = asyncio.Event()
    text = GeneratedText(pipeline.tokenizer, (), changed)
    text.fail(RuntimeError("out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        await Texts([text], changed).complete()
    changed.set()
    with pytest.raises(RuntimeError, match="out of memory"):
        _ = [piece async for piece in Texts([text], changed).pieces()]


def without_start(fields: dict[str, Any]) -> None:
    fields["defaults"] = {}


def defaults(**more: Any) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields["defaults"].update(more)


def start_of_two(fields: dict[str, Any]) -> None:
    fields["defaults"] = {"start": "ab"}


def state_of_another_size(fields: dict[str, Any]) -> None:
    fields["graphs"]["model"]["outputs"][1]["shape"] = [-1, 2]


def state_without_a_size(fields: dict[str, Any]) -> None:
    fields["graphs"]["model"]["inputs"][2]["shape"] = [-1, -1]


def no_lengths(fields: dict[str, Any]) -> None:
    del fields["graphs"]["model"]["inputs"][1]


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (without_start, "defaults.start"),
        (start_of_two, "defaults.start"),
        *((defaults(temperature=wrong), "defaults.temperature must be a number from 0 to 2") for wrong in ("hot", None, True, -1, 1000)),
        (defaults(temprature=0.2), "has no default 'temprature', only start and temperature"),
        (state_of_another_size, "input_ids, lengths and state"),
        (state_without_a_size, "input_ids, lengths and state"),
        (no_lengths, "input_ids, lengths and state"),
    ],
)
def test_a_manifest_that_breaks_the_contract_is_rejected(tmp_path: Path, edit: Callable[[dict[str, Any]], None], says: str) -> None:
    folder = write_summing_model(tmp_path)
    edit_manifest(folder, edit)
    with pytest.raises(ModelRejected, match=says):
        Pipeline.load(load_manifest(folder), folder)


def test_a_manifest_of_another_kind_is_rejected(tmp_path: Path) -> None:
    folder = write_word_model(tmp_path)
    with pytest.raises(ModelRejected, match="wants a processor of characters"):
        Pipeline.load(load_manifest(folder), folder)
