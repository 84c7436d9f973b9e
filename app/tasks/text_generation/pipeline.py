"""Prompt -> character ids -> (the batcher) -> characters -> text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from app.contract.manifest import ModelManifest
from app.contract.stopping import StopStrings
from app.contract.text import CharacterProcessor, CharTokenizer, check_padded, pad
from app.errors import BadRequest, InputTooLarge, ModelRejected
from app.runtime.generation import FinishReason
from app.runtime.generative_model import GenerativeModel, recurrent_shapes
from app.runtime.options import Limits
from app.runtime.slots import Tokens

MAX_TOKENS_A_RUN = 8192  # of a client that sends the graph's own tensors: 3 MB of logits over 100 characters
MAX_TEMPERATURE = 2  # as in a request


class TextGenerationPipeline:
    """The procedure around one character model."""

    task = "text-generation"
    served_by = GenerativeModel
    encoded_input = None
    postprocess_blocks = False

    def __init__(self, tokenizer: CharTokenizer, start: str, state_shape: tuple[int, ...]) -> None:
        self.tokenizer = tokenizer
        self._start = tokenizer.encode(start)
        self._state_shape = state_shape

    @classmethod
    def load(cls, manifest: ModelManifest, directory: Path, limits: Limits = Limits()) -> Self:  # noqa: B008 - it is frozen
        processor, start = manifest.processor, manifest.defaults.get("start")
        if not isinstance(processor, CharacterProcessor):
            raise ModelRejected("text-generation wants a processor of characters; complete manifest.json")
        if not isinstance(start, str) or len(start) != 1 or start not in processor.characters:
            raise ModelRejected("text-generation wants one character of the alphabet as defaults.start; complete manifest.json")
        temperature = manifest.defaults.get("temperature", 1.0)
        if type(temperature) not in (int, float) or not 0 <= cast(float, temperature) <= MAX_TEMPERATURE:
            raise ModelRejected(f"defaults.temperature must be a number from 0 to {MAX_TEMPERATURE}; correct manifest.json")
        if unknown := sorted(set(manifest.defaults) - {"start", "temperature"}):
            raise ModelRejected(f"text-generation has no default {unknown[0][:64]!r}, only start and temperature; correct manifest.json")
        return cls(processor.load(), start, recurrent_shapes(manifest.graphs["model"])[0])

    def default_options(self) -> None:
        return None

    def preprocess(self, item: str, options: None = None) -> list[NDArray[np.int64]]:
        """A prompt to its ids, (T,). An empty one starts as a new line does. Raises InvalidOption, naming unknown characters."""
        return [self.tokenizer.encode(item) if item else self._start]

    def rows(self, inputs: dict[str, NDArray[Any]]) -> list[dict[str, NDArray[Any]]]:
        """A request is one run of its own: its state comes with it and goes back with the answer."""
        input_ids, lengths = inputs["input_ids"], inputs["lengths"]  # (B, T), (B,)
        check_padded(input_ids, lengths, self.tokenizer.vocabulary_size)
        if len(inputs["state"]) != len(input_ids):
            raise BadRequest(f"input_ids has {len(input_ids):,} rows, state has {len(inputs['state']):,}")
        if input_ids.size > MAX_TOKENS_A_RUN:
            raise InputTooLarge(f"input_ids has {input_ids.size:,} tokens; the limit is {MAX_TOKENS_A_RUN:,} a run", param="input_ids")
        return [inputs] if len(input_ids) else []

    def bucket(self, row: NDArray[np.int64]) -> Hashable:
        return None

    def pixels(self, row: NDArray[np.int64]) -> int:
        return 0

    def collate(self, rows: Sequence[NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
        """Whole prompts in one run, from their beginning: the golden request. Live texts are run by `app.runtime.slots`."""
        input_ids, lengths = pad(list(rows), 0)  # (B, T), (B,)
        return {"input_ids": input_ids, "lengths": lengths, "state": np.zeros((len(rows), *self._state_shape), dtype=np.float32)}

    def postprocess(self, rows: list[Any], outputs: list[dict[str, NDArray[Any]]], options: None) -> NDArray[np.float32]:
        """The logits behind the prompt's last character. (V,)"""
        logits: NDArray[np.float32] = outputs[0]["logits"][len(rows[0]) - 1]
        return logits


@dataclass(frozen=True, slots=True)
class TokenInfo:
    """A character with its log-probability, and the likeliest ones in its place."""

    logprob: float | None  # None: nothing foretells a prompt's first character
    top: dict[str, float] | None


@dataclass(slots=True)
class Piece:
    """What came of a text since it was last asked; a text that is asked at its end is one piece."""

    text: str
    infos: list[TokenInfo] = field(default_factory=list)  # one a character, where they were asked for
    finish_reason: FinishReason | None = None


class GeneratedText:
    """One text in the making: the batcher puts tokens in, the endpoint takes pieces out.

    `changed` is set when there is something to take.
    """

    def __init__(
        self, tokenizer: CharTokenizer, stops: Sequence[str], changed: asyncio.Event, echo: str = "", scored: bool = False
    ) -> None:
        """`echo` is the prompt, if it is to stand before the text. `scored`: every character comes with its log-probability."""
        self.tokens = 0  # generated, those of a stop string included
        self.logprob_sum = 0.0  # of these
        self.finish_reason: FinishReason | None = None
        self.error: Exception | None = None
        self._tokenizer = tokenizer
        self._stops = StopStrings(stops)
        self._changed = changed
        self._scored = scored
        self._new = echo
        self._infos = [TokenInfo(None, None)] if echo and scored else []

    def put_prompt(self, tokens: Tokens) -> None:
        self._infos += self._infos_of(tokens)
        self._changed.set()

    def put(self, tokens: Tokens) -> bool:
        shown, end = self._stops.feed(self._tokenizer.decode(tokens.ids.tolist()))
        self._new += shown
        self.tokens += len(tokens.ids) if end is None else end
        if tokens.logprobs is not None:
            self.logprob_sum += float(tokens.logprobs.chosen[:end].sum())
            self._infos += self._infos_of(tokens)
        self._changed.set()
        return end is not None

    def end(self, reason: FinishReason) -> None:
        self._new += self._stops.rest()
        self.finish_reason = reason
        self._changed.set()

    def fail(self, error: Exception) -> None:
        self.error = error
        self._changed.set()

    def take(self) -> Piece | None:
        """What is new, if anything is. Raises what the run failed with."""
        if self.error is not None:
            raise self.error
        size = min(len(self._new), len(self._infos)) if self._scored else len(self._new)
        if not size and self.finish_reason is None:
            return None
        text, self._new = self._new[:size], self._new[size:]
        infos, self._infos = self._infos[:size], self._infos[size:]
        return Piece(text, infos, self.finish_reason)

    def _infos_of(self, tokens: Tokens) -> list[TokenInfo]:
        logprobs, characters = tokens.logprobs, self._tokenizer.characters
        if logprobs is None:
            return []
        infos = []
        for index, chosen, top_ids, top in zip(tokens.ids, logprobs.chosen, logprobs.top_ids, logprobs.top, strict=True):
            likeliest = {characters[other]: float(logprob) for other, logprob in zip(top_ids, top, strict=True)}
            infos.append(TokenInfo(float(chosen), likeliest | {characters[index]: float(chosen)}))
        return infos


class Texts:
    """The texts of one request, in the making."""

    def __init__(self, texts: Sequence[GeneratedText], changed: asyncio.Event) -> None:
        self._texts = texts
        self._changed = changed

    async def pieces(self) -> AsyncIterator[list[tuple[int, Piece]]]:
        """(number of the text, what is new of it), whenever something is. Raises what the run failed with."""
        unfinished = dict(enumerate(self._texts))
        while unfinished:
            await self._changed.wait()
            self._changed.clear()
            new = [(number, piece) for number, text in unfinished.items() if (piece := text.take())]
            for number, piece in new:
                if piece.finish_reason is not None:
                    del unfinished[number]
            if new:
                yield new

    async def complete(self) -> list[Piece]:
        """Each text, when the last one is complete. Raises what the run failed with."""
        while any(text.finish_reason is None and text.error is None for text in self._texts):
            await self._changed.wait()
            self._changed.clear()
        return [piece for text in self._texts if (piece := text.take())]

    @property
    def tokens(self) -> int:
        """Generated, those of stop strings included."""
        return sum(text.tokens for text in self._texts)
