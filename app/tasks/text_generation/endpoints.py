"""`POST /v1/text-generation/{model}`: one text, whole or as server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence, Sized
from contextlib import ExitStack
from functools import partial
from typing import Any, cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.bodies import read_json
from app.api.dependencies import (
    Headers,
    describe_alternatives,
    describe_fields,
    describe_model,
    get_deadline,
    get_model,
    schema_of,
    with_query,
)
from app.api.disconnect import unless_disconnected
from app.api.error_handlers import ERROR_RESPONSES
from app.api.event_stream import EventStream, describe_events, error_event, event
from app.api.models import model_ref
from app.api.state import settings
from app.api.validation import MAX_ECHO_CHARS
from app.contract.sampling import SamplingOptions
from app.errors import InputTooLarge
from app.runtime.generative_model import GenerativeModel
from app.runtime.slots import GenerationRequest
from app.settings import Settings
from app.tasks.text_generation.pipeline import GeneratedText, Piece, TextGenerationPipeline, Texts
from app.tasks.text_generation.schemas import TextGenerationAnswer, TextGenerationRequest, TokenUsage, stop_strings

TASK = TextGenerationPipeline.task

router = APIRouter(prefix=f"/v1/{TASK}", tags=[TASK], responses=ERROR_RESPONSES)

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": schema_of(TextGenerationRequest)}},
}

PARAMETERS = [
    *describe_model("anna"),
    *describe_alternatives(TextGenerationRequest, but=("prompt", "stop", "stream")),  # one stop is read there too
    *describe_fields("header", Headers),
]

Answer = Callable[[Piece], TextGenerationAnswer]


@router.post(
    "/{model}",
    summary="Write a text",
    response_model=TextGenerationAnswer,
    responses={200: describe_events({"text": "are all "}, {"text": "alike", "finish_reason": "length"})},
    openapi_extra={"parameters": PARAMETERS, "requestBody": REQUEST_BODY},
)
async def generate_text(request: Request) -> Response:
    """A text that goes on from the prompt, character by character. The same seed and parameters give the same text.

    With `stream` it comes as server-sent events, `data: {"text": "..."}` each, as it is written; the last event has all
    the other fields of the answer as well. A prompt with a character that the model does not know is refused.
    """
    model, deadline = get_model(request, TASK, GenerativeModel), get_deadline(request)
    body = with_query(request, await read_json(request, TextGenerationRequest))
    started = time.monotonic()
    with ExitStack() as work:
        text, texts = write_text(model, body, settings(request), deadline, work)
        answer = partial(_answer, model, body, text, started)
        if body.stream:
            failed = partial(error_event, request.url.path)
            return EventStream(_events(texts, answer), work.pop_all(), failed, settings(request).stream_ping_ms)
        (piece,) = await unless_disconnected(request, texts.complete())
    return Response(answer(piece).model_dump_json(), media_type="application/json")


def write_text(
    model: GenerativeModel, body: TextGenerationRequest, limits: Settings, deadline: float, work: ExitStack
) -> tuple[GeneratedText, Texts]:
    """The text in the making, alone and as the request's only one; it is given up when `work` closes."""
    check_prompt(body.prompt, limits)
    check_work(body.max_tokens, [body.prompt], 1, limits)
    pipeline, changed = cast(TextGenerationPipeline, model.pipeline), asyncio.Event()
    text = GeneratedText(pipeline.tokenizer, stop_strings(body.stop), changed)
    work.enter_context(model.generating([(_generation(model, body), text)], deadline))
    return text, Texts([text], changed)


def check_prompt(prompt: Sized, limits: Settings) -> None:
    if len(prompt) > limits.max_text_chars:
        raise InputTooLarge(f"a prompt has {len(prompt):,} characters; the limit is {limits.max_text_chars:,}", param="prompt")


def check_work(max_tokens: int, prompts: Sequence[Sized], texts_per_prompt: int, limits: Settings) -> None:
    """Whether one request may ask for so much. Raises InputTooLarge."""
    if max_tokens > limits.max_generated_tokens:
        said = f"{max_tokens:,}"[:MAX_ECHO_CHARS]
        raise InputTooLarge(f"max_tokens is {said}; the limit is {limits.max_generated_tokens:,}", param="max_tokens")
    tokens = texts_per_prompt * sum(len(prompt) + max_tokens for prompt in prompts)
    if tokens > limits.max_request_tokens:
        texts = f"{len(prompts) * texts_per_prompt:,} texts of up to {max_tokens:,} tokens, with their prompts,"
        raise InputTooLarge(f"{texts} are {tokens:,} tokens; the limit is {limits.max_request_tokens:,}", param="max_tokens")


def _generation(model: GenerativeModel, body: TextGenerationRequest) -> GenerationRequest:
    temperature = model.manifest.defaults.get("temperature", 1.0) if body.temperature is None else body.temperature
    options = SamplingOptions(temperature=cast(float, temperature), top_k=body.top_k, top_p=body.top_p, seed=body.seed)
    return GenerationRequest(model.pipeline.preprocess(body.prompt, None)[0], body.max_tokens, options)


def _answer(model: GenerativeModel, body: TextGenerationRequest, text: GeneratedText, started: float, last: Piece) -> TextGenerationAnswer:
    assert last.finish_reason is not None
    return TextGenerationAnswer(
        model=model_ref(model.manifest),
        text=last.text,
        finish_reason=last.finish_reason,
        usage=TokenUsage(prompt_tokens=len(body.prompt), completion_tokens=text.tokens),
        notice=model.manifest.notice,
        timing_ms={"total": round((time.monotonic() - started) * 1000, 2)},
    )


async def _events(texts: Texts, answer: Answer) -> AsyncIterator[bytes]:
    async for pieces in texts.pieces():
        for _, piece in pieces:
            if piece.finish_reason is None:
                yield b'data: {"text":' + json.dumps(piece.text).encode() + b"}\n\n"
            else:
                yield event(answer(piece).model_dump())
