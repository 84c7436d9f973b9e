"""OpenAI's own Python client against a real server: what it sends is understood, what it gets it understands."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from app.contract.sampling import SamplingOptions
from tests.character_models import ALPHABET, GAIN, drawn_text, ids_of, most_likely_text, write_lstm_model, write_summing_model
from tests.e2e.server import RunningServer, running_server
from tests.model_repository import write_word_model

LIKELY = -math.log(1 + (len(ALPHABET) - 1) * math.exp(-GAIN))
LIMITS = {"max_generated_tokens": 10**7, "max_request_tokens": 10**8}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    root = tmp_path_factory.mktemp("models")
    write_summing_model(root)
    write_lstm_model(root, layers=2, hidden=128)
    write_word_model(root)
    with running_server(root, tmp_path_factory.mktemp("server") / "log", **LIMITS) as server:
        yield server


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_the_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["lstm", "sums", "words"]
    model = client.models.retrieve("sums")
    assert client.models.retrieve("sums@1") == model
    assert (model.id, model.object, model.owned_by, model.created) == ("sums", "model", "axon", 1767323045)
    with pytest.raises(openai.NotFoundError) as absent:
        client.models.retrieve("absent")
    assert absent.value.code == "model_not_found"


def test_a_completion_is_parsed_whole(client: openai.OpenAI) -> None:
    completion = client.completions.create(model="sums", prompt="Happy", max_tokens=12, temperature=0)
    assert (completion.object, completion.model, completion.choices[0].finish_reason) == ("text_completion", "sums", "length")
    assert completion.choices[0].text == most_likely_text("Happy", 12)
    assert completion.usage is not None
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens, completion.usage.total_tokens) == (5, 12, 17)


def test_prompts_may_be_texts_and_tokens(client: openai.OpenAI) -> None:
    tokens, last = ids_of("alike").tolist(), len(ALPHABET) - 1
    for prompt, expected in (
        ("Happy", ["Happy"]),
        (["Happy", "a"], ["Happy", "a"]),
        (tokens, ["alike"]),
        ([tokens, [last]], ["alike", "Z"]),
    ):
        completion = client.completions.create(model="sums", prompt=prompt, max_tokens=5, temperature=0)
        assert [choice.text for choice in completion.choices] == [most_likely_text(each, 5) for each in expected]


def test_every_option_that_the_client_knows_is_understood(client: openai.OpenAI) -> None:
    completion = client.completions.create(
        model="sums",
        prompt=["Happy", "alike"],
        best_of=3,
        echo=True,
        frequency_penalty=0.1,
        logit_bias={"0": -100},
        logprobs=2,
        max_tokens=20,
        n=2,
        presence_penalty=0.1,
        seed=7,
        stop=["zz", "yy"],
        temperature=0.9,
        top_p=0.99,
        user="somebody",
        extra_body={"top_k": 40, "min_p": 0.001, "repetition_penalty": 1.05},
    )
    assert [choice.index for choice in completion.choices] == [0, 1, 2, 3]
    for choice in completion.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.tokens == list(choice.text)
        assert choice.logprobs.token_logprobs is not None
        assert choice.logprobs.token_logprobs[0] is None
        assert "\n" not in choice.text


def test_a_prompt_is_scored_in_nats_per_character(client: openai.OpenAI) -> None:
    text = "H" + most_likely_text("H", 3000)
    completion = client.completions.create(model="sums", prompt=text, echo=True, max_tokens=0, logprobs=0)
    logprobs = completion.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    scored = logprobs.token_logprobs[1:]
    assert (completion.choices[0].text, len(scored)) == (text, 3000)
    assert -sum(scored) / len(scored) == pytest.approx(-LIKELY, abs=1e-5)


def test_a_stream_is_the_completion_in_pieces(client: openai.OpenAI) -> None:
    fields = {"model": "sums", "prompt": ["Happy", "alike"], "n": 2, "max_tokens": 500, "seed": 3}
    whole = client.completions.create(**fields)
    texts, last = {}, None
    for chunk in client.completions.create(**fields, stream=True, stream_options={"include_usage": True}):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
        last = chunk
    assert [texts[index] for index in range(4)] == [choice.text for choice in whole.choices]
    assert last is not None
    assert (last.choices, last.usage) == ([], whole.usage)


def test_stops_hold_across_chunks(client: openai.OpenAI) -> None:
    written = most_likely_text("Happy", 60)
    stream = client.completions.create(model="sums", prompt="Happy", max_tokens=60, temperature=0, stop=written[50:56], stream=True)
    chunks = [chunk.choices[0] for chunk in stream]
    assert "".join(choice.text for choice in chunks) == written[:50]
    assert [choice.finish_reason for choice in chunks] == [None] * (len(chunks) - 1) + ["stop"]


@pytest.mark.parametrize(
    ("fields", "error", "param"),
    [
        ({"model": "absent"}, openai.NotFoundError, "model"),
        ({"model": "words"}, openai.NotFoundError, "model"),
        ({"temperature": 3}, openai.BadRequestError, "temperature"),
        ({"suffix": "end"}, openai.BadRequestError, "suffix"),
        ({"prompt": "caf\u00e9"}, openai.BadRequestError, "prompt"),
        ({"best_of": 2, "stream": True}, openai.BadRequestError, "stream"),
        ({"extra_body": {"magic": True}}, openai.BadRequestError, "magic"),
    ],
)
def test_errors_are_the_classes_that_the_client_has(
    client: openai.OpenAI, fields: dict[str, object], error: type[openai.APIStatusError], param: str
) -> None:
    with pytest.raises(error) as refused:
        client.completions.create(**({"model": "sums", "prompt": "a", "max_tokens": 3} | fields))  # type: ignore[call-overload]
    assert refused.value.param == param
    assert refused.value.type == "invalid_request_error"
    assert refused.value.code in ("model_not_found", "invalid_option")
    assert refused.value.message


def test_a_late_stream_raises_in_the_client(client: openai.OpenAI) -> None:
    slow = client.with_options(default_headers={"x-request-timeout-ms": "300"})
    stream = slow.completions.create(model="lstm", prompt="a", max_tokens=10**7, stream=True)
    with pytest.raises(openai.APIError, match="deadline") as late:
        for _ in stream:
            pass
    assert late.value.code == "deadline_exceeded"
    with pytest.raises(openai.InternalServerError):
        slow.completions.create(model="lstm", prompt="a", max_tokens=10**7)


def test_a_client_that_closes_its_stream_frees_the_slot_at_once(client: openai.OpenAI, server: RunningServer) -> None:
    stream = client.completions.create(model="lstm", prompt="a", n=3, max_tokens=10**7, stream=True)
    next(iter(stream))
    assert server.metric('axon_live_sequences{model="lstm"') == 3
    stream.close()
    left_at = time.monotonic()
    while server.metric('axon_live_sequences{model="lstm"'):
        assert time.monotonic() < left_at + 5
    assert server.metric('axon_inference_request_failure_total{model="lstm",reason="cancelled"') >= 1
    assert server.metric('axon_pending_requests{model="lstm"') == 0


def test_the_same_seed_gives_the_same_text_alone_and_among_63_others_streamed_or_not(server: RunningServer) -> None:
    """On a real LSTM, with 63 neighbours of other prompts and lengths that come and go."""
    fields = {"model": "lstm", "prompt": "Happy families", "max_tokens": 120, "temperature": 1.0}

    async def written(client: openai.AsyncOpenAI, seed: int, stream: bool) -> str:
        if not stream:
            return (await client.completions.create(**fields, seed=seed)).choices[0].text
        chunks = await client.completions.create(**fields, seed=seed, stream=True)
        return "".join([chunk.choices[0].text async for chunk in chunks])

    async def neighbour(client: openai.AsyncOpenAI, number: int) -> None:
        prompt = ("To be, or not to be " * 4)[: 1 + number]
        await client.completions.create(model="lstm", prompt=prompt, max_tokens=1 + 3 * number, seed=number)

    async def ask() -> tuple[list[str], list[str]]:
        async with openai.AsyncOpenAI(base_url=f"{server.address}/v1", api_key="none", max_retries=0) as client:
            alone = [await written(client, seed, stream) for seed in (1, 2) for stream in (False, True)]
            others = [asyncio.ensure_future(neighbour(client, number)) for number in range(60)]
            crowded = await asyncio.gather(*(written(client, seed, stream) for seed in (1, 2) for stream in (False, True)))
            await asyncio.gather(*others)
            return alone, crowded

    alone, crowded = asyncio.run(ask())
    assert alone == crowded
    assert alone[0] == alone[1] != alone[2] == alone[3]


def test_a_full_queue_is_a_rate_limit_and_the_client_comes_back(tmp_path: Path) -> None:
    write_lstm_model(tmp_path, layers=1, hidden=128)
    with running_server(tmp_path, tmp_path / "log", max_live_sequences=1, max_waiting_sequences=0, **LIMITS) as server:
        url = f"{server.address}/v1"
        with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client, ThreadPoolExecutor(1) as pool:
            stream = client.completions.create(model="lstm", prompt="a", max_tokens=10**7, stream=True)
            next(iter(stream))
            with pytest.raises(openai.RateLimitError) as refused:
                client.completions.create(model="lstm", prompt="a")
            assert refused.value.code == "queue_full"
            assert 1 <= int(refused.value.response.headers["retry-after"]) <= 120
            stream.close()
            give_up_at = time.monotonic() + 20
            while server.metric('axon_live_sequences{model="lstm"') and time.monotonic() < give_up_at:
                time.sleep(0.02)  # a client that came back sooner would rightly be told to wait for ten million tokens
            patient = client.with_options(max_retries=2)
            assert pool.submit(patient.completions.create, model="lstm", prompt="a", max_tokens=3).result(30).choices


def test_options_of_the_summing_model_hold_over_http(client: openai.OpenAI) -> None:
    completion = client.completions.create(model="sums", prompt="Happy", max_tokens=200, seed=9, temperature=0.7, top_p=0.95)
    assert completion.choices[0].text == drawn_text("Happy", 200, SamplingOptions(seed=9, temperature=0.7, top_p=0.95))
