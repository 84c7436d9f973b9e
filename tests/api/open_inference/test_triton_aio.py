"""Triton's asyncio client against a real server. It asks for compressed answers unless told otherwise, and unpacks only those of /infer."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from tritonclient.http.aio import InferenceServerClient, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.api.open_inference.requests import pixels
from tests.api.open_inference.test_triton_client import ENCODINGS, infer_input, objects
from tests.e2e.server import RunningServer
from tests.model_repository import GAIN, picture, word_logits

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[InferenceServerClient]:
    async with InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


async def test_metadata_comes_as_it_is(client: InferenceServerClient) -> None:
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("words", "1")
    assert (await client.get_server_metadata())["name"] == "axon"
    assert (await client.get_model_metadata("sums"))["outputs"][0]["name"] == "logits"
    assert (await client.get_model_config("colours"))["input"][0]["data_type"] == "TYPE_UINT8"
    assert len(await client.get_model_repository_index()) == 3
    assert len((await client.get_inference_statistics())["model_stats"]) == 3


@pytest.mark.parametrize("answered", ENCODINGS)
@pytest.mark.parametrize("sent", ENCODINGS)
@pytest.mark.parametrize("binary", [True, False])
async def test_uint8_pixels_to_fp32_logits(client: InferenceServerClient, binary: bool, sent: str | None, answered: str | None) -> None:
    result = await client.infer(
        "colours",
        [infer_input("pixel_values", pixels("green"), binary)],
        outputs=[InferRequestedOutput("logits", binary_data=binary)],
        request_compression_algorithm=sent,
        response_compression_algorithm=answered,
    )
    assert result.as_numpy("logits") == pytest.approx(np.array([[0, 255, 0]], np.float32) * GAIN, abs=1e-4)


@pytest.mark.parametrize("binary", [True, False])
async def test_bytes_are_pictures_and_texts(client: InferenceServerClient, binary: bool) -> None:
    result = await client.infer("words", [infer_input("text", objects("not bad", "é good"), binary)])
    assert result.as_numpy("logits") == pytest.approx(np.stack([word_logits("not", "bad"), word_logits("good")]), abs=1e-5)
    result = await client.infer("colours", [infer_input("image", objects(picture("blue")), binary=True)])
    assert result.as_numpy("logits").argmax() == 2


async def test_a_refusal_reaches_the_client_as_a_sentence(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="is UINT8, not FP32"):
        await client.infer("colours", [infer_input("pixel_values", pixels("red").astype(np.float32), binary=True)])
    with pytest.raises(InferenceServerException, match="switched off"):
        await client.load_model("words")
