"""Triton's own Python client against a real server: every call that it has and that we answer."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.api.open_inference.requests import character_tensors, pixels, word_ids
from tests.character_models import summing_outputs
from tests.e2e.server import RunningServer, running_server, wait_for
from tests.model_repository import GAIN, picture, word_logits
from tests.slow_models import write_slow_model

ENCODINGS = [None, "gzip", "deflate"]
DATATYPES = {np.dtype(np.uint8): "UINT8", np.dtype(np.int64): "INT64", np.dtype(np.float32): "FP32", np.dtype(np.object_): "BYTES"}


def infer_input(name: str, array: np.ndarray[Any, Any], binary: bool) -> InferInput:
    given = InferInput(name, list(array.shape), DATATYPES[array.dtype])
    given.set_data_from_numpy(array, binary_data=binary)
    return given


def objects(*values: bytes | str) -> np.ndarray[Any, Any]:
    return np.array(values, dtype=np.object_)


@pytest.fixture
def client(server: RunningServer) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(f"127.0.0.1:{server.port}", concurrency=2) as client:
        yield client


def test_the_server_and_its_models_are_alive_and_ready(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert [client.is_model_ready(name) for name in ("colours", "words", "sums")] == [True] * 3
    assert client.is_model_ready("words", "1")
    assert not client.is_model_ready("words", "2")
    assert not client.is_model_ready("absent")


def test_the_metadata_is_read(client: InferenceServerClient) -> None:
    assert client.get_server_metadata()["name"] == "axon"
    assert client.get_model_metadata("words") == client.get_model_metadata("words", "1")
    assert client.get_model_metadata("colours")["inputs"] == [{"name": "pixel_values", "datatype": "UINT8", "shape": [-1, 3, 32, 32]}]
    assert client.get_model_config("words")["max_batch_size"] == 8
    assert [entry["name"] for entry in client.get_model_repository_index()] == ["colours", "sums", "words"]


@pytest.mark.parametrize("answered", ENCODINGS)
@pytest.mark.parametrize("sent", ENCODINGS)
@pytest.mark.parametrize("binary", [True, False])
def test_uint8_pixels_to_fp32_logits(client: InferenceServerClient, binary: bool, sent: str | None, answered: str | None) -> None:
    result = client.infer(
        "colours",
        [infer_input("pixel_values", pixels("red", "grey"), binary)],
        outputs=[InferRequestedOutput("logits", binary_data=binary)],
        request_id="trace-9",
        request_compression_algorithm=sent,
        response_compression_algorithm=answered,
    )
    logits = result.as_numpy("logits")
    assert logits.dtype == np.float32
    assert logits == pytest.approx(np.array([[255, 0, 0], [128, 128, 128]], np.float32) * GAIN, abs=1e-4)
    assert result.get_response()["id"] == "trace-9"
    assert ("data" in result.get_output("logits")) is not binary


@pytest.mark.parametrize("binary", [True, False])
def test_int64_tokens_of_several_lengths(client: InferenceServerClient, binary: bool) -> None:
    input_ids, lengths = word_ids("not bad", "the good film", "bad")
    result = client.infer("words", [infer_input("input_ids", input_ids, binary), infer_input("lengths", lengths, binary)])
    expected = [word_logits("not", "bad"), word_logits("the", "good", "film"), word_logits("bad")]
    assert result.as_numpy("logits") == pytest.approx(np.stack(expected), abs=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_a_model_that_writes_is_run_step_by_step_by_its_client(client: InferenceServerClient, binary: bool) -> None:
    whole, state = summing_outputs("Anna"), np.zeros((1, 1), np.float32)
    for index, character in enumerate("Anna"):
        tensors = character_tensors(character) | {"state": state}
        result = client.infer("sums", [infer_input(name, array, binary) for name, array in tensors.items()])
        assert result.as_numpy("logits")[0, 0] == pytest.approx(whole["logits"][0, index])
        state = result.as_numpy("next_state")
    assert state == pytest.approx(whole["next_state"])


def test_an_encoded_picture_goes_through_the_models_own_preprocessing(client: InferenceServerClient) -> None:
    encoded = objects(picture("blue"), picture("red", image_format="JPEG"))
    result = client.infer("colours", [infer_input("image", encoded, binary=True)])
    assert result.as_numpy("logits").argmax(axis=1).tolist() == [2, 0]
    assert result.as_numpy("logits")[0] == pytest.approx([0, 0, 255 * GAIN], abs=1e-4)


@pytest.mark.parametrize("binary", [True, False])
def test_texts_of_any_script_are_bytes(client: InferenceServerClient, binary: bool) -> None:
    texts = objects("good film", "добрый \N{GRINNING FACE} good", "bad \0 bad")
    result = client.infer("words", [infer_input("text", texts, binary)])
    expected = [word_logits("good", "film"), word_logits("good"), word_logits("bad", "bad")]
    assert result.as_numpy("logits") == pytest.approx(np.stack(expected), abs=1e-5)


@pytest.mark.parametrize("binary", [True, False])
def test_nothing_is_answered_with_nothing(client: InferenceServerClient, binary: bool) -> None:
    inputs = {
        "words": [infer_input("text", np.empty(0, np.object_), binary)],
        "colours": [infer_input("pixel_values", np.empty((0, 3, 32, 32), np.uint8), binary)],
        "sums": [infer_input(name, array[:0], binary) for name, array in character_tensors("a").items()],
    }
    shapes = {"words": (0, 2), "colours": (0, 3), "sums": (0, 0, 67)}
    for model, shape in shapes.items():
        outputs = [InferRequestedOutput("logits", binary_data=binary)]
        assert client.infer(model, inputs[model], outputs=outputs).as_numpy("logits").shape == shape


def test_requests_beside_each_other_are_each_answered(client: InferenceServerClient) -> None:
    colours = ["red", "green", "blue"] * 4
    running = [client.async_infer("colours", [infer_input("pixel_values", pixels(colour), binary=True)]) for colour in colours]
    answers = [request.get_result().as_numpy("logits").argmax() for request in running]
    assert answers == [0, 1, 2] * 4


def test_the_statistics_count_what_was_asked(client: InferenceServerClient) -> None:
    def counted() -> dict[str, Any]:
        (entry,) = client.get_inference_statistics("words", "1")["model_stats"]
        return dict(entry)

    before = counted()
    client.infer("words", [infer_input("text", objects("good", "bad"), binary=True)])
    after = counted()
    assert after["inference_count"] - before["inference_count"] == 2
    assert after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 1
    assert [entry["name"] for entry in client.get_inference_statistics()["model_stats"]] == ["colours", "sums", "words"]


def test_a_refusal_reaches_the_client_as_a_sentence(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="there is no place for 'pixels' here") as refused:
        client.infer("colours", [infer_input("pixels", pixels("red"), binary=True)], response_compression_algorithm="gzip")
    assert refused.value.status() == "400"
    with pytest.raises(InferenceServerException, match="available: colours, sums, words") as refused:
        client.get_model_metadata("absent")
    assert refused.value.status() == "404"
    with pytest.raises(InferenceServerException, match="there is nothing at /v2/logging"):
        client.get_log_settings()


@pytest.mark.parametrize("option", [{"sequence_id": 7}, {"priority": 1}, {"parameters": {"temperature": 1}}])
def test_what_the_server_does_not_do_it_does_not_ignore(client: InferenceServerClient, option: dict[str, Any]) -> None:
    with pytest.raises(InferenceServerException, match="there is no parameter"):
        client.infer("words", [infer_input("text", objects("good"), binary=True)], **option)


def test_the_clients_timeout_is_the_deadline(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.infer("words", [infer_input("text", objects("the " * 5_000), binary=True)], timeout=1)
    assert refused.value.status() == "504"
    assert client.infer("words", [infer_input("text", objects("good"), binary=True)], timeout=10_000_000).as_numpy("logits").size == 2


def test_the_work_of_a_client_that_hangs_up_is_dropped(tmp_path: Path) -> None:
    write_slow_model(tmp_path / "models")
    twenty_seconds = [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["wait " * 9_000]}]
    body = json.dumps({"inputs": twenty_seconds}).encode()
    head = f"POST /v2/models/slow/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with running_server(tmp_path / "models", tmp_path / "log", cores=1) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(head + body)
            wait_for(server, 'axon_pending_requests{model="slow"', 1)
        wait_for(server, 'axon_inference_request_failure_total{model="slow",reason="cancelled"', 1)
        assert server.metric('axon_pending_requests{model="slow"') == 0
