"""More work than the server can take: refused at once, or dropped when its time is over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from starlette.testclient import TestClient

from tests.api.error_shape import assert_refused
from tests.api.metrics_page import metric
from tests.conftest import serve

URL = "/v1/text-classification/words"


def test_a_full_queue_refuses_with_a_time_to_come_back(toy_models: Path) -> None:
    with serve(toy_models, cores=1, max_queue_size=70) as client, ThreadPoolExecutor(8) as clients:
        busy = [clients.submit(client.post, URL, json={"text": ["the " * 70] * 64}) for _ in range(40)]
        responses = [request.result() for request in busy]
    statuses = {response.status_code for response in responses}
    assert statuses == {200, 429}
    for response in responses:
        if response.status_code == 429:
            assert_refused(response, 429, "queue_full", says="try again in")
            assert 1 <= int(response.headers["retry-after"]) <= 120


def test_a_request_larger_than_the_whole_queue_is_too_large_not_too_early(toy_models: Path) -> None:
    with serve(toy_models, max_queue_size=8) as client:
        assert_refused(client.post(URL, json={"text": ["good"] * 9}), 413, "input_too_large", says="8")
        assert client.post(URL, json={"text": ["good"] * 8}).status_code == 200


def test_a_request_with_more_bytes_than_the_whole_queue_is_too_large(toy_models: Path) -> None:
    with serve(toy_models, max_queue_bytes=10_000) as client:
        assert_refused(client.post(URL, json={"text": "good " * 3_000}), 413, "input_too_large", says="10,000")
        assert client.post(URL, json={"text": "good"}).status_code == 200


def test_a_queue_that_is_full_of_bytes_refuses_however_few_its_rows_are(toy_models: Path) -> None:
    with serve(toy_models, cores=1, max_queue_bytes=600_000) as client, ThreadPoolExecutor(12) as clients:
        busy = [clients.submit(client.post, URL, json={"text": ["the " * 5_000] * 8}) for _ in range(24)]  # 160 kB each, and its rows
        responses = [request.result() for request in busy]
        assert {response.status_code for response in responses} == {200, 429}
        assert metric(client, 'axon_pending_requests{model="words"') == 0
        assert client.post(URL, json={"text": ["the " * 5_000] * 8}).status_code == 200  # what they held is free


def test_what_waits_to_be_written_is_bounded_in_bytes_as_well(character_models: Path) -> None:
    with serve(character_models, max_queue_bytes=10_000) as client:
        url = "/v1/text-generation/sums"
        assert client.post(url, json={"prompt": "a" * 1_000, "max_tokens": 3}).status_code == 200
        assert_refused(client.post(url, json={"prompt": "a" * 2_000, "max_tokens": 3}), 413, "input_too_large", says="16,004 bytes")


def test_a_deadline_that_passes_is_a_504(toy_models: Path) -> None:
    with serve(toy_models, cores=1) as client, ThreadPoolExecutor(8) as clients:
        busy = [clients.submit(client.post, URL, json={"text": ["the " * 5_000] * 64}) for _ in range(2)]
        while metric(client, 'axon_pending_requests{model="words"') < 2:
            pass
        response = client.post(URL, json={"text": "good"}, headers={"x-request-timeout-ms": "1"})
        assert not busy[1].done()  # the refusal did not wait for those in front
        assert_refused(response, 504, "deadline_exceeded")
        assert [request.result().status_code for request in busy] == [200, 200]
        assert metric(client, 'axon_inference_request_failure_total{model="words",reason="timeout"') == 1
        assert metric(client, 'axon_inference_count_total{model="words"') == 128  # the late row never ran


def test_many_clients_at_once_each_get_their_own_answer(client: TestClient) -> None:
    def label(word: str) -> str:
        return str(client.post(URL, json={"text": f"{word} film"}).json()["results"][0]["label"])

    words = ["good", "bad"] * 30
    with ThreadPoolExecutor(16) as clients:
        assert list(clients.map(label, words)) == ["positive", "negative"] * 30
