"""`POST /v1/completions`, as OpenAI's clients know it."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
from fastapi import APIRouter
from numpy.typing import NDArray
from pydantic import JsonValue
from starlette.requests import Request
from starlette.responses import Response

from app.api.bodies import read_json
from app.api.dependencies import Headers, describe_fields, find_model, get_deadline, refuse_query, schema_of
from app.api.disconnect import unless_disconnected
from app.api.event_stream import EventStream, describe_events, error_event, event
from app.api.state import settings
from app.errors import InputTooLarge, InvalidOption
from app.runtime.generative_model import GenerativeModel
from app.runtime.slots import GenerationRequest
from app.settings import Settings
from app.tasks.text_generation.endpoints import check_prompt, check_work
from app.tasks.text_generation.pipeline import GeneratedText, Piece, TextGenerationPipeline, Texts, TokenInfo
from app.tasks.text_generation.schemas import (
    CompletionAnswer,
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
    CompletionUsage,
    OpenAIError,
    stop_strings,
)

TASK = TextGenerationPipeline.task
DONE = b"data: [DONE]\n\n"

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": OpenAIError, "description": description}
    for status, description in {
        400: "The request is malformed, too large, or a field is out of range; `param` says which",
        404: "There is no such model; the message names those that exist",
        429: "Too many texts wait; see Retry-After",
        503: "The model is loading, was refused, or the server is shutting down",
        504: "The deadline passed",
    }.items()
}

router = APIRouter(prefix="/v1/completions", tags=[TASK], responses=ERRORS)

EVENT = {"id": "cmpl-1", "object": "text_completion", "created": 1767323045, "model": "anna"} | {
    "choices": [{"index": 0, "text": "are all alike", "logprobs": None, "finish_reason": None}]
}
REQUEST_BODY: dict[str, Any] = {"required": True, "content": {"application/json": {"schema": schema_of(CompletionRequest)}}}


@dataclass(frozen=True, slots=True)
class Completion:
    """One request on its way: what was asked, and the texts in the making, `best_of` for each prompt."""

    id: str
    created: int
    body: CompletionRequest
    prompts: Sequence[NDArray[np.int64]]
    candidates: Sequence[GeneratedText]
    texts: Texts

    def usage(self) -> CompletionUsage:
        prompt_tokens, completion_tokens = sum(map(len, self.prompts)), self.texts.tokens
        total = prompt_tokens + completion_tokens
        return CompletionUsage(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens, total_tokens=total)


@router.post(
    "",
    summary="Complete a text (OpenAI)",
    response_model=CompletionAnswer,
    responses={200: describe_events(EVENT, "[DONE]")},
    openapi_extra={"parameters": describe_fields("header", Headers), "requestBody": REQUEST_BODY},
)
async def create_completion(request: Request) -> Response:
    """OpenAI's completions: point its client's `base_url` at `/v1`. A character is a token.

    Log-probabilities are the model's own, before temperature, penalties and filters. With `echo` and `logprobs` they cover
    the prompt, so `echo=true, max_tokens=0, logprobs=0` scores a text. A character that the model does not know is refused.
    """
    refuse_query(request)
    deadline, limits = get_deadline(request), settings(request)
    body = await read_json(request, CompletionRequest)
    model = find_model(request, body.model, None, TASK, GenerativeModel)
    _check_combinations(body)
    completion, work = _prepare(body, model, limits)
    with ExitStack() as open_work:
        open_work.enter_context(model.generating(work, deadline))
        if body.stream:
            failed = partial(_failed, request.url.path)
            return EventStream(_events(completion), open_work.pop_all(), failed, limits.stream_ping_ms)
        pieces = await unless_disconnected(request, completion.texts.complete())
    return Response(_answer(completion, pieces).model_dump_json(), media_type="application/json")


def _check_combinations(body: CompletionRequest) -> None:
    """Raises InvalidOption for fields that do not go together."""
    best_of = body.best_of or body.n
    problems = {
        "suffix": (body.suffix is not None, "suffix is not supported: the models write on, they do not fill in"),
        "max_tokens": (body.max_tokens == 0 and not body.echo, "max_tokens may be 0 only with echo"),
        "best_of": (best_of < body.n, "best_of must be at least n"),
        "stream_options": (body.stream_options is not None and not body.stream, "stream_options goes only with stream"),
        "stream": (body.stream and (body.best_of or 1) > 1, "best_of cannot be streamed: which text is best shows at the end"),
    }
    for param, (is_wrong, message) in problems.items():
        if is_wrong:
            raise InvalidOption(message, param=param)


def _prepare(
    body: CompletionRequest, model: GenerativeModel, limits: Settings
) -> tuple[Completion, list[tuple[GenerationRequest, GeneratedText]]]:
    """A request as the batcher wants it. Raises InvalidOption and InputTooLarge."""
    pipeline = cast(TextGenerationPipeline, model.pipeline)
    best_of, changed, tokenizer = body.best_of or body.n, asyncio.Event(), pipeline.tokenizer
    given = _prompts(body.prompt, limits)
    check_work(body.max_tokens, given, best_of, limits)
    prompts = [_ids(prompt, pipeline) for prompt in given]
    stops, bias = stop_strings(body.stop), _logit_bias(body.logit_bias, tokenizer.vocabulary_size)
    scored = body.logprobs is not None
    logprobs = 0 if best_of > body.n and not scored else body.logprobs
    model.batcher.check_fits(best_of * len(prompts), best_of * sum(map(len, prompts)))  # before thousands are made
    work = []
    for ids in prompts:
        echo = tokenizer.decode(ids) if body.echo else ""
        for choice in range(best_of):
            input_ids = ids if len(ids) else pipeline.preprocess("")[0]
            generation = GenerationRequest(input_ids, body.max_tokens, body.sampling(choice, bias), logprobs, bool(echo) and scored)
            work.append((generation, GeneratedText(tokenizer, stops, changed, echo, scored)))
    texts = [text for _, text in work]
    return Completion(f"cmpl-{uuid.uuid4().hex}", int(time.time()), body, prompts, texts, Texts(texts, changed)), work


def _prompts(prompt: JsonValue, limits: Settings) -> list[str | list[int]]:
    """A text, texts, token ids, or lists of them, as a list of texts or ids. Raises InvalidOption and InputTooLarge."""
    several = prompt if isinstance(prompt, list) and not _are_ids(prompt) else [prompt]
    if not several:
        raise InvalidOption("prompt must not be an empty list", param="prompt")
    if len(several) > limits.max_texts:
        raise InputTooLarge(f"{len(several):,} prompts in one request; the limit is {limits.max_texts:,}", param="prompt")
    for each in several:
        if not (isinstance(each, str) or (isinstance(each, list) and (_are_ids(each) or not each))):
            raise InvalidOption("prompt must be a string, a list of strings, a list of token ids, or a list of such lists", param="prompt")
        check_prompt(each, limits)
    return cast(list[str | list[int]], several)


def _ids(prompt: str | list[int], pipeline: TextGenerationPipeline) -> NDArray[np.int64]:
    """(T,). Raises InvalidOption for what is not in the alphabet."""
    if isinstance(prompt, str):
        return pipeline.tokenizer.encode(prompt)
    size = pipeline.tokenizer.vocabulary_size
    if not all(0 <= token < size for token in prompt):
        raise InvalidOption(f"prompt has a token id that is not between 0 and {size - 1}", param="prompt")
    return np.array(prompt, dtype=np.int64)


def _are_ids(prompt: list[JsonValue]) -> bool:
    return bool(prompt) and all(isinstance(token, int) and not isinstance(token, bool) for token in prompt)


def _logit_bias(bias: dict[str, float], vocabulary: int) -> dict[int, float]:
    """By token id. Raises InvalidOption."""
    for token in bias:
        if not (token.isascii() and token.isdecimal() and len(token) < 10 and int(token) < vocabulary):
            raise InvalidOption(f"logit_bias has a key that is no token id: they go from 0 to {vocabulary - 1}", param="logit_bias")
    return {int(token): value for token, value in bias.items()}


def _answer(completion: Completion, pieces: list[Piece]) -> CompletionAnswer:
    """Of each prompt's texts the n likeliest by token, the best first; without best_of all, in their order."""
    body, best_of = completion.body, completion.body.best_of or completion.body.n
    choices = []
    for start in range(0, len(pieces), best_of):
        numbers = list(range(start, start + best_of))
        if best_of > body.n:
            numbers.sort(key=lambda number: -_mean_logprob(completion.candidates[number]))
        choices += [pieces[number] for number in numbers[: body.n]]
    return CompletionAnswer(
        id=completion.id,
        created=completion.created,
        model=body.model,
        choices=[_choice(index, piece, body.logprobs is not None) for index, piece in enumerate(choices)],
        usage=completion.usage(),
    )


def _mean_logprob(text: GeneratedText) -> float:
    return text.logprob_sum / max(1, text.tokens)


def _choice(index: int, piece: Piece, scored: bool) -> CompletionChoice:
    assert piece.finish_reason is not None
    logprobs = CompletionLogprobs(**_logprobs(piece, 0)) if scored else None
    return CompletionChoice(index=index, text=piece.text, logprobs=logprobs, finish_reason=piece.finish_reason)


def _logprobs(piece: Piece, offset: int) -> dict[str, list[Any]]:
    """`offset` is where the piece begins in its choice's text."""
    infos: list[TokenInfo] = piece.infos
    return {
        "tokens": list(piece.text),
        "token_logprobs": [info.logprob for info in infos],
        "top_logprobs": [info.top for info in infos],
        "text_offset": list(range(offset, offset + len(piece.text))),
    }


async def _events(completion: Completion) -> AsyncIterator[bytes]:
    """A chunk for each piece; those of one wake-up go out together."""
    body = completion.body
    head = {"id": completion.id, "object": "text_completion", "created": completion.created, "model": body.model}
    begin = b"data: " + json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"choices":['
    include_usage = body.stream_options is not None and body.stream_options.include_usage
    end = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
    offsets = [0] * len(completion.candidates)
    async for pieces in completion.texts.pieces():
        chunks = []
        for index, piece in pieces:
            logprobs = json.dumps(_logprobs(piece, offsets[index])) if body.logprobs is not None else "null"
            offsets[index] += len(piece.text)
            chunks.append(begin + _chunk(index, piece, logprobs).encode() + end)
        yield b"".join(chunks)
    last = event(head | {"choices": [], "usage": completion.usage().model_dump()}) if include_usage else b""
    yield last + DONE


def _chunk(index: int, piece: Piece, logprobs: str) -> str:
    reason = "null" if piece.finish_reason is None else f'"{piece.finish_reason}"'
    return f'{{"index":{index},"text":{json.dumps(piece.text)},"logprobs":{logprobs},"finish_reason":{reason}}}'


def _failed(path: str, error: Exception) -> bytes:
    return error_event(path, error) + DONE
