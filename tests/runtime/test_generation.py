"""ContinuousBatcher: who is admitted, who waits, who ends, on a model whose texts are known by construction."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from numpy.typing import NDArray

from app.contract.sampling import SamplingOptions
from app.errors import DeadlineExceeded, InputTooLarge, ModelNotReady, QueueFull, RunStuck
from app.runtime.generation import ContinuousBatcher, LiveSequence
from app.runtime.metrics import ServingMetrics
from app.runtime.run_threads import RunThreads
from app.runtime.session import OrtSession, Stopper, Tensors
from app.runtime.slots import GenerationRequest, Slots, Tokens
from tests.character_models import ALPHABET, drawn_text, ids_of, most_likely_text, write_summing_model

pytestmark = pytest.mark.anyio

ENDLESS = 10**7


class Sink:
    """Collects a text; ends it at `stop_after` tokens."""

    def __init__(self, stop_after: int = ENDLESS) -> None:
        self.text = ""
        self.pieces = 0
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.started = asyncio.Event()
        self._stop_after = stop_after

    def put_prompt(self, tokens: Tokens) -> None: ...

    def put(self, tokens: Tokens) -> bool:
        self.text += "".join(ALPHABET[index] for index in tokens.ids)
        self.pieces += 1
        self.started.set()
        return len(self.text) >= self._stop_after

    def end(self, reason: str) -> None:
        self.ended.set_result(reason)

    def fail(self, error: Exception) -> None:
        self.ended.set_exception(error)
        self.ended.exception()  # not every test asks for it


class Gate:
    """A session whose runs wait until they are let through, so that a test decides what meets."""

    requested_provider = actual_provider = "none"

    def __init__(self, session: OrtSession) -> None:
        self._session = session
        self._open = threading.Event()
        self._open.set()
        self.rows: list[int] = []
        self.steps: list[int] = []  # tokens of each row of a run
        self.stoppers: list[Stopper] = []
        self.error: Exception | None = None

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def run(self, tensors: Mapping[str, NDArray[Any]], stopper: Stopper | None = None) -> Tensors:
        assert stopper is not None
        self.stoppers.append(stopper)
        self._open.wait(20)
        self.rows.append(len(tensors["lengths"]))
        self.steps.append(tensors["input_ids"].shape[1])
        if self.error is not None:
            raise self.error
        return self._session.run(tensors, stopper)


Make = Callable[..., ContinuousBatcher]


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> OrtSession:
    return OrtSession(write_summing_model(tmp_path_factory.mktemp("sums")) / "model.onnx")


@pytest.fixture
def gate(sums: OrtSession) -> Gate:
    return Gate(sums)


@pytest.fixture
def metrics() -> ServingMetrics:
    return ServingMetrics()


@pytest.fixture
def make(gate: Gate, metrics: ServingMetrics) -> Iterator[Make]:
    with ThreadPoolExecutor(1) as executor:

        def made(slots: int = 4, waiting: int = 8, chunk_tokens: int = 8) -> ContinuousBatcher:
            rows = Slots(gate, slots, (1,), len(ALPHABET), chunk_tokens)
            return ContinuousBatcher("sums", rows, executor, metrics.of("sums", "1"), max_waiting=waiting)

        yield made
        gate.open()


def greedy(prompt: str, max_tokens: int) -> GenerationRequest:
    return GenerationRequest(ids_of(prompt), max_tokens, SamplingOptions(temperature=0))


def live(metrics: ServingMetrics, name: str = "live") -> float:
    return float(metrics.registry.get_sample_value(f"axon_{name}_sequences", {"model": "sums", "version": "1"}) or 0)


async def until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up_at
        await asyncio.sleep(0.001)


async def test_a_text_is_the_models(make: Make) -> None:
    sink = Sink()
    make().submit([(greedy("Happy families", 300), sink)])
    assert await sink.ended == "length"
    assert sink.text == most_likely_text("Happy families", 300)
    assert sink.pieces < 100  # the event loop is not woken for each token


async def test_one_token_and_none_are_texts_too(make: Make) -> None:
    one, none = Sink(), Sink()
    make().submit([(greedy("A", 1), one), (greedy("A", 0), none)])
    assert (await one.ended, one.text) == ("length", most_likely_text("A", 1))
    assert (await none.ended, none.text) == ("length", "")


async def test_texts_that_come_and_go_keep_their_own_words(make: Make) -> None:
    batcher, sinks = make(slots=5, waiting=100), []
    for number in range(60):
        prompt, options = "Happy families "[: 1 + number % 15], SamplingOptions(seed=number)
        length = 1 + 37 * number % 90
        sinks.append((Sink(), prompt, length, options))
        batcher.submit([(GenerationRequest(ids_of(prompt), length, options), sinks[-1][0])])
        await asyncio.sleep(0.001 * (number % 3))
    for sink, prompt, length, options in sinks:
        await sink.ended
        assert sink.text == drawn_text(prompt, length, options)


async def test_a_short_text_does_not_wait_for_a_long_one(make: Make, metrics: ServingMetrics) -> None:
    batcher, long, short = make(), Sink(), Sink()
    (endless,) = batcher.submit([(greedy("A", ENDLESS), long)])
    await long.started.wait()
    batcher.submit([(greedy("B", 5), short)])
    assert await asyncio.wait_for(short.ended, 10) == "length"
    assert not long.ended.done()
    endless.cancel()
    await until(lambda: live(metrics) == 0)


async def test_a_short_prompt_does_not_wait_for_long_ones_to_be_read(make: Make, gate: Gate) -> None:
    """They are read in turn, a chunk each."""
    batcher, short, long = make(slots=12, chunk_tokens=8), Sink(), [Sink() for _ in range(8)]
    gate.close()
    texts = batcher.submit([(greedy("x" * 8_000, ENDLESS), sink) for sink in long])
    await until(lambda: bool(gate.stoppers))  # the first chunk of each is being read
    batcher.submit([(greedy("A", 1), short)])
    gate.open()
    assert await short.ended == "length"
    assert not any(sink.started.is_set() for sink in long)
    for text in texts:
        text.cancel()


async def test_a_chunk_of_prompts_counts_as_one_run(make: Make, metrics: ServingMetrics) -> None:
    batcher, sink = make(chunk_tokens=8), Sink()
    batcher.submit([(greedy("x" * 80, 3), sink)])
    await sink.ended
    await until(lambda: live(metrics) == 0)
    runs = metrics.registry.get_sample_value("axon_inference_exec_count_total", {"model": "sums", "version": "1"})
    assert runs == 10 + 2  # the tenth chunk brings the first token


async def test_two_models_of_one_name_show_the_texts_of_both(make: Make, gate: Gate, metrics: ServingMetrics) -> None:
    """One that was replaced writes on what it has begun."""
    old, new, writing, written = make(), make(), Sink(), Sink()
    (endless,) = old.submit([(greedy("A", ENDLESS), writing)])
    await writing.started.wait()
    new.submit([(greedy("B", 3), written)])
    await written.ended
    await new.drain(20)
    assert live(metrics) == 1
    endless.cancel()
    await until(lambda: live(metrics) == 0)


async def test_live_texts_go_on_while_a_long_prompt_is_read(make: Make, gate: Gate) -> None:
    batcher, talking, reading = make(chunk_tokens=8), Sink(), Sink()
    (endless,) = batcher.submit([(greedy("A", ENDLESS), talking)])
    await talking.started.wait()
    gate.close()
    batcher.submit([(greedy("x" * 800, 1), reading)])
    gate.steps.clear()
    gate.open()
    await reading.ended
    endless.cancel()
    first, last = gate.steps.index(8), len(gate.steps) - 1 - gate.steps[::-1].index(8)
    assert gate.steps[first : last + 1].count(8) == 100
    assert gate.steps[first : last + 1].count(1) >= 99  # at least one step between two chunks
    assert talking.text == most_likely_text("A", len(talking.text))


async def test_live_texts_share_each_step(make: Make, gate: Gate) -> None:
    batcher, sinks = make(slots=4), [Sink() for _ in range(4)]
    gate.close()
    batcher.submit([(greedy("A", 50), sink) for sink in sinks])
    gate.open()
    await asyncio.gather(*(sink.ended for sink in sinks))
    assert gate.rows == [4] * 50


async def test_what_does_not_fit_waits_and_what_does_not_fit_there_is_refused(make: Make, gate: Gate, metrics: ServingMetrics) -> None:
    batcher, sinks = make(slots=2, waiting=3), [Sink() for _ in range(5)]
    gate.close()
    batcher.submit([(greedy("A", 20), sink) for sink in sinks])
    await until(lambda: live(metrics, "waiting") == 3)
    assert live(metrics) == 2
    with pytest.raises(QueueFull) as refused:
        batcher.submit([(greedy("A", 20), Sink())])
    assert refused.value.retry_after_s == 1
    with pytest.raises(InputTooLarge, match="6 texts at once, 'sums' takes 5"):
        batcher.submit([(greedy("A", 20), Sink())] * 6)
    gate.open()
    for sink in sinks:
        await sink.ended
        assert sink.text == most_likely_text("A", 20)


async def test_all_or_none_of_a_requests_texts_are_taken(make: Make, gate: Gate) -> None:
    batcher = make(slots=2, waiting=1)
    gate.close()
    first, taken = Sink(), [Sink(), Sink()]
    batcher.submit([(greedy("A", 2), first)])
    with pytest.raises(QueueFull):
        batcher.submit([(greedy("A", 2), Sink()) for _ in range(3)])
    batcher.submit([(greedy("A", 2), sink) for sink in taken])
    gate.open()
    await asyncio.gather(first.ended, *(sink.ended for sink in taken))


async def test_the_time_to_come_back_is_what_the_work_takes(make: Make, gate: Gate) -> None:
    batcher, took_s = make(slots=1, waiting=3), []
    for _ in range(3):
        warm, started = Sink(), time.monotonic()
        batcher.submit([(greedy("A", 2000), warm)])
        await warm.ended
        took_s.append(time.monotonic() - started)
    gate.close()
    tokens = int(30 / (min(took_s) / 2000))
    sequences = batcher.submit([(greedy("A", tokens), Sink()) for _ in range(2)])
    assert 10 <= batcher.retry_after_s() <= 120  # two texts of thirty seconds each; the machine's pace varies
    sequences += batcher.submit([(greedy("A", 10**9), Sink())])
    assert batcher.retry_after_s() == 120
    for sequence in sequences:
        sequence.cancel()


async def test_a_text_may_end_before_its_length(make: Make, metrics: ServingMetrics) -> None:
    sink = Sink(stop_after=30)
    make().submit([(greedy("A", ENDLESS), sink)])
    assert await sink.ended == "stop"
    await until(lambda: live(metrics) == 0)


async def test_a_cancelled_text_frees_its_slot_for_the_next(make: Make, metrics: ServingMetrics) -> None:
    batcher, left, waiting = make(slots=1), Sink(), Sink()
    (sequence,) = batcher.submit([(greedy("A", ENDLESS), left)])
    await left.started.wait()
    batcher.submit([(greedy("B", 3), waiting)])
    sequence.cancel()
    assert await asyncio.wait_for(waiting.ended, 10) == "length"
    assert waiting.text == most_likely_text("B", 3)
    assert not left.ended.done()  # nobody is told: the caller left
    await until(lambda: live(metrics) == 0)


async def test_a_text_that_is_cancelled_while_it_waits_never_runs(make: Make, gate: Gate) -> None:
    batcher, first = make(slots=1), Sink()
    gate.close()
    batcher.submit([(greedy("A", 3), first)])
    (waiting,) = batcher.submit([(greedy("B", 3), Sink())])
    waiting.cancel()
    gate.open()
    await first.ended
    assert len(gate.rows) == 3


async def test_a_deadline_ends_a_text_wherever_it_is(make: Make) -> None:
    batcher, sinks = make(slots=1), [Sink(), Sink()]
    deadline = time.monotonic() + 0.1
    batcher.submit([(greedy("A", ENDLESS), sinks[0])], deadline)
    batcher.submit([(greedy("A", 3), sinks[1])], deadline)
    for sink in sinks:
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(sink.ended, 10)
    after = Sink()
    batcher.submit([(greedy("A", 3), after)])
    assert await after.ended == "length"


async def test_a_run_that_fails_fails_its_texts_and_the_next_ones_are_written(
    make: Make, gate: Gate, metrics: ServingMetrics, caplog: pytest.LogCaptureFixture
) -> None:
    batcher, sinks = make(), [Sink(), Sink()]
    gate.close()
    batcher.submit([(greedy("A", ENDLESS), sink) for sink in sinks])
    gate.error = RuntimeError("out of memory")
    gate.open()
    for sink in sinks:
        with pytest.raises(RuntimeError, match="out of memory"):
            await sink.ended
    gate.error = None
    after = Sink()
    batcher.submit([(greedy("A", 30), after)])
    await after.ended
    assert after.text == most_likely_text("A", 30)
    assert "out of memory" in caplog.text


async def test_a_run_that_all_its_texts_left_is_stopped(make: Make, gate: Gate, metrics: ServingMetrics) -> None:
    batcher, sinks = make(), [Sink(), Sink()]
    gate.close()
    sequences = batcher.submit([(greedy("A", ENDLESS), sink) for sink in sinks])
    await until(lambda: len(gate.stoppers) == 1)
    sequences[0].cancel()
    assert not gate.stoppers[0].stopped
    sequences[1].cancel()
    assert gate.stoppers[0].stopped
    gate.open()
    await until(lambda: live(metrics) == 0)
    after = Sink()
    batcher.submit([(greedy("B", 3), after)])
    await after.ended
    assert after.text == most_likely_text("B", 3)


async def test_a_deadline_does_not_wait_for_the_run_that_goes_on(make: Make, gate: Gate) -> None:
    batcher, sink = make(), Sink()
    gate.close()
    batcher.submit([(greedy("A", 3), sink)], time.monotonic() + 0.5)
    with pytest.raises(DeadlineExceeded):
        await asyncio.wait_for(sink.ended, 5)
    assert gate.stoppers[0].stopped
    gate.open()


async def test_after_a_stuck_run_the_next_texts_have_places_of_their_own(sums: OrtSession, metrics: ServingMetrics) -> None:
    gate, seen = Gate(sums), []
    with RunThreads(1, 2.0) as threads:
        slots = Slots(gate, 4, (1,), len(ALPHABET), 8)
        batcher = ContinuousBatcher("sums", slots, threads, metrics.of("sums", "1"), max_waiting=8, observe=seen.append)
        talking, after = Sink(), Sink()
        batcher.submit([(greedy("A", ENDLESS), talking)])
        await talking.started.wait()
        gate.close()
        batcher.submit([(greedy("Happy", 40), after)])
        with pytest.raises(RunStuck):
            await asyncio.wait_for(talking.ended, 10)
        gate.open()  # the run that was given up comes back, in the midst of the next ones
        if isinstance(after.ended.exception() if after.ended.done() else None, RunStuck):  # it had joined the run that got stuck
            after = Sink()
            batcher.submit([(greedy("Happy", 40), after)])
        await asyncio.wait_for(after.ended, 10)
        assert after.text == most_likely_text("Happy", 40)
        assert batcher.slots is not slots
        assert {type(error) for error in seen} == {RunStuck, type(None)}


async def test_what_the_texts_hold_is_bounded_in_bytes(gate: Gate, metrics: ServingMetrics) -> None:
    with ThreadPoolExecutor(1) as executor:
        slots = Slots(gate, 1, (1,), len(ALPHABET), 8)
        batcher = ContinuousBatcher("sums", slots, executor, metrics.of("sums", "1"), max_waiting=100, max_bytes=1000)
        gate.close()
        sequences = batcher.submit([(greedy("x" * 60, 3), Sink())])  # ids of 8 bytes each, and a state of 4
        assert sequences[0].nbytes == 484
        sequences += batcher.submit([(greedy("x" * 60, 3), Sink())])
        with pytest.raises(QueueFull):
            batcher.submit([(greedy("x" * 4, 3), Sink())])
        with pytest.raises(InputTooLarge, match="has 1,004 bytes"):
            batcher.submit([(greedy("x" * 125, 3), Sink())])
        sequences[1].cancel()
        sequences += batcher.submit([(greedy("x" * 4, 3), Sink())])
        for sequence in sequences:
            sequence.cancel()
        gate.open()


async def test_nothing_of_a_text_that_is_over_is_kept_until_its_deadline(make: Make, gate: Gate) -> None:
    batcher, deadline = make(slots=1, waiting=1), time.monotonic() + 600
    sinks: weakref.WeakSet[Sink] = weakref.WeakSet()

    def submitted(count: int = 1) -> list[LiveSequence]:
        given = [Sink() for _ in range(count)]
        sinks.update(given)
        return batcher.submit([(greedy("A", 3), sink) for sink in given], deadline)

    gate.close()
    texts = [*submitted(), *submitted()]
    for count, error in ((1, QueueFull), (3, InputTooLarge)):
        with pytest.raises(error):
            submitted(count)
    gc.collect()
    assert len(sinks) == 2  # the refused ones are gone
    texts.pop().cancel()
    texts.pop().fail(DeadlineExceeded())
    submitted()
    gate.open()
    await batcher.drain(20)  # the last one is written
    gc.collect()
    assert len(sinks) == 0


async def test_a_refusal_makes_nothing_of_the_texts(make: Make, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    batcher = make(slots=1, waiting=1)
    gate.close()
    text, sink = greedy("A", 1), Sink()
    batcher.submit([(text, sink), (text, sink)])[1].cancel()
    monkeypatch.setattr(batcher.slots, "row", lambda request: pytest.fail("a state was made"))
    with pytest.raises(QueueFull):
        batcher.submit([(text, sink)] * 2)
    with pytest.raises(InputTooLarge):
        batcher.submit([(text, sink)] * 3)
    gate.open()


async def test_a_drain_finishes_what_was_accepted_and_refuses_the_rest(make: Make) -> None:
    batcher, sinks = make(slots=2), [Sink() for _ in range(5)]
    batcher.submit([(greedy("A", 200), sink) for sink in sinks])
    draining = asyncio.ensure_future(batcher.drain(20))
    await asyncio.sleep(0)
    with pytest.raises(ModelNotReady, match="shutting down"):
        batcher.submit([(greedy("A", 2), Sink())])
    await draining
    assert [sink.ended.result() for sink in sinks] == ["length"] * 5


async def test_a_drain_fails_what_is_left_after_its_grace(make: Make) -> None:
    batcher, sinks = make(slots=1), [Sink(), Sink()]
    batcher.submit([(greedy("A", ENDLESS), sink) for sink in sinks])
    started = time.monotonic()
    await batcher.drain(0.05)
    assert time.monotonic() - started < 5
    for sink in sinks:
        with pytest.raises(ModelNotReady, match="shut down before the text was complete"):
            sink.ended.result()


async def test_an_idle_batcher_drains_at_once(make: Make) -> None:
    await make().drain(60)


async def test_tokens_and_first_tokens_are_counted(make: Make, metrics: ServingMetrics) -> None:
    sinks = [Sink(), Sink()]
    make().submit([(greedy("A", 10), sinks[0]), (greedy("B", 7), sinks[1])])
    await asyncio.gather(*(sink.ended for sink in sinks))
    labels = {"model": "sums", "version": "1"}
    assert metrics.registry.get_sample_value("axon_tokens_generated_total", labels) == 17
    assert metrics.registry.get_sample_value("axon_time_to_first_token_seconds_count", labels) == 2


async def test_a_prompt_of_one_character_and_one_of_many_are_read_together(make: Make, gate: Gate) -> None:
    sinks = [Sink(), Sink()]
    gate.close()
    make(chunk_tokens=64).submit([(greedy("A", 5), sinks[0]), (greedy("Happy families", 5), sinks[1])])
    gate.open()
    await asyncio.gather(*(sink.ended for sink in sinks))
    assert [sink.text for sink in sinks] == [most_likely_text("A", 5), most_likely_text("Happy families", 5)]
    assert gate.steps == [14, 1, 1, 1, 1]
