"""So many requests a minute for each client: refused with an honest time to come back, and in bounded memory."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.api.rate_limit import TokenBuckets, address
from tests.api.error_shape import assert_refused
from tests.api.open_inference.requests import assert_refused as assert_v2_refused
from tests.conftest import serve

KEY, OTHER_KEY = "key-of-a-client-0001", "key-of-a-client-0002"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize("per_minute", [1, 7, 60, 1000])
def test_a_full_bucket_gives_its_tokens_at_once_and_then_one_by_one(clock: Clock, per_minute: int) -> None:
    buckets = TokenBuckets(per_minute, clock=clock)
    assert [buckets.wait_s("a") for _ in range(per_minute)] == [0.0] * per_minute
    wait_s = buckets.wait_s("a")
    assert wait_s == pytest.approx(60 / per_minute)
    clock.now += wait_s / 2
    assert buckets.wait_s("a") == pytest.approx(wait_s / 2)
    clock.now += wait_s / 2
    assert buckets.wait_s("a") == 0.0
    assert buckets.wait_s("a") > 0


def test_who_comes_back_when_told_is_let_in(clock: Clock) -> None:
    buckets = TokenBuckets(7, clock=clock)
    for _ in range(100):
        wait_s = buckets.wait_s("a")
        if wait_s:
            clock.now += math.ceil(wait_s)
            assert buckets.wait_s("a") == 0.0


def test_in_any_minute_no_more_than_twice_the_rate_gets_through_and_over_an_hour_the_rate(clock: Clock) -> None:
    buckets, let_in = TokenBuckets(30, clock=clock), 0
    for _ in range(36_000):  # ten a second
        let_in += buckets.wait_s("a") == 0.0
        clock.now += 0.1
    assert 60 * 30 <= let_in <= 61 * 30


def test_a_refusal_costs_nothing(clock: Clock) -> None:
    buckets = TokenBuckets(1, clock=clock)
    assert buckets.wait_s("a") == 0.0
    for _ in range(1000):
        assert buckets.wait_s("a") == pytest.approx(60.0)


def test_clients_do_not_share(clock: Clock) -> None:
    buckets = TokenBuckets(1, clock=clock)
    assert [buckets.wait_s(client) for client in ("a", "b", "c")] == [0.0] * 3
    assert all(buckets.wait_s(client) for client in ("a", "b", "c"))


def test_the_memory_is_bounded_and_who_is_refused_is_remembered(clock: Clock) -> None:
    buckets = TokenBuckets(1, max_clients=100, clock=clock)
    for number in range(10_000):
        buckets.wait_s(str(number))
        assert len(buckets) <= 100
    assert buckets.wait_s("9999") > 0
    assert buckets.wait_s("9900") > 0
    assert buckets.wait_s("0") == 0.0  # long forgotten


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("10.1.2.3", 4000), "10.1.2.3"),
        (("2001:db8:1:2:3:4:5:6", 4000), "2001:db8:1:2::/64"),
        (("2001:db8:1:2::ffff", 1), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("::ffff:10.1.2.3", 1), "10.1.2.3"),
        (("64:ff9b::a01:203", 1), "64:ff9b::a01:203"),
        (("64:ff9b:1::a01:203", 1), "64:ff9b:1::/64"),
        (("not:an:address", 1), "not:an:address"),
        (("testclient", 50000), "testclient"),
        (None, "unknown"),
    ],
)
def test_a_client_is_its_address_and_of_ipv6_its_network(client: tuple[str, int] | None, expected: str) -> None:
    assert address({"client": client}) == expected


def ask(client: TestClient, count: int, key: str | None = None, path: str = "/v1/models") -> list[int]:
    return [client.get(path, headers={"x-api-key": key} if key else {}).status_code for _ in range(count)]


def test_the_sixth_request_of_five_a_minute_is_refused_in_the_shape_of_its_face(toy_models: Path) -> None:
    with serve(toy_models, rate_limit_per_minute=5) as client:
        assert ask(client, 5) == [200] * 5
        refused = client.get("/metrics")
        assert_refused(refused, 429, "rate_limit_exceeded", says="more than 5 requests a minute; try again in ")
        assert 1 <= int(refused.headers["retry-after"]) <= 12
        assert_v2_refused(client.get("/v2/models"), 429, "more than 5 requests")
        openai = client.post("/v1/completions", json={}).json()["error"]
        assert (openai["type"], openai["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        for path in ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"):
            assert ask(client, 10, path=path) == [200] * 10


def test_each_key_has_its_own_limit_and_without_one_nothing_is_counted(toy_models: Path) -> None:
    with serve(toy_models, api_keys=f"{KEY},{OTHER_KEY}", rate_limit_per_minute=3) as client:
        assert ask(client, 10) == [401] * 10
        assert ask(client, 4, KEY) == [200, 200, 200, 429]
        assert ask(client, 4, OTHER_KEY) == [200, 200, 200, 429]


def test_there_is_no_limit_by_default(client: TestClient) -> None:
    assert ask(client, 200) == [200] * 200
