"""RunHealth: not well after a run that did not come back, and well again by itself when one does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import Counter, Gauge

from app.errors import RunStuck
from app.runtime.metrics import ModelMetrics, ServingMetrics
from app.runtime.run_health import RunHealth

pytestmark = pytest.mark.anyio


class Trials:
    """A trial that fails so many times before it succeeds."""

    def __init__(self, failures: int = 0) -> None:
        self.made = 0
        self._failures = failures

    def __call__(self) -> None:
        self.made += 1
        if self.made <= self._failures:
            raise RunStuck(0.1)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture
def metrics() -> ModelMetrics:
    return ServingMetrics().of("toy", "1")


def value(gauge: Counter | Gauge) -> float:
    return next(iter(gauge.collect())).samples[0].value


async def until_well(health: RunHealth) -> None:
    async with asyncio.timeout(10):
        while health.problem:  # noqa: ASYNC110 - what changes it runs in a thread
            await asyncio.sleep(0.005)


async def test_a_model_is_well_until_a_run_is_stuck(executor: ThreadPoolExecutor, metrics: ModelMetrics) -> None:
    trials = Trials()
    health = RunHealth("toy", trials, executor, metrics, 60)
    health.succeeded()
    health.failed(RuntimeError("a wrong row"))
    assert (health.problem, value(metrics.stuck_runs)) == (None, 0)
    metrics.ready.set(1)
    health.failed(RunStuck(2))
    assert (health.problem or "").startswith("a run took longer than 2 s and was given up")
    assert (value(metrics.stuck_runs), value(metrics.ready)) == (1, 0)
    health.succeeded()
    assert (health.problem, value(metrics.ready)) == (None, 1)


async def test_it_is_tried_until_a_run_comes_back(
    executor: ThreadPoolExecutor, metrics: ModelMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    trials = Trials(failures=2)
    health = RunHealth("toy", trials, executor, metrics, 0.02)
    health.failed(RunStuck(2))
    health.failed(RunStuck(2))
    await until_well(health)
    assert (trials.made, value(metrics.stuck_runs)) == (3, 4)  # two runs and two trials were stuck
    assert "toy: runs come back again" not in caplog.text  # an information, not a warning
    await asyncio.sleep(0.1)
    assert trials.made == 3  # it is well: nothing is tried any more


async def test_a_run_that_comes_back_ends_the_trials(executor: ThreadPoolExecutor, metrics: ModelMetrics) -> None:
    trials = Trials()
    health = RunHealth("toy", trials, executor, metrics, 0.05)
    health.failed(RunStuck(2))
    health.succeeded()
    await asyncio.sleep(0.2)
    assert trials.made == 0


async def test_a_model_that_is_served_no_more_is_tried_no_more(executor: ThreadPoolExecutor, metrics: ModelMetrics) -> None:
    trials = Trials()
    health = RunHealth("toy", trials, executor, metrics, 0.02)
    health.failed(RunStuck(2))
    health.close()
    metrics.ready.set(1)  # another model is served in its place
    health.failed(RunStuck(2))  # by a request that the old one had accepted
    await asyncio.sleep(0.1)
    assert (trials.made, value(metrics.stuck_runs), value(metrics.ready)) == (0, 2, 1)
