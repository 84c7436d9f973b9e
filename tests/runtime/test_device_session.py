"""DeviceSession with tensors that stay in the processor's memory: the same code, and what ONNX Runtime is told."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.contract.manifest import Graph, load_manifest
from app.runtime.device import CPU
from app.runtime.device_session import GRAPH_ID, NO_GRAPH, DeviceSession
from app.runtime.session import SHRINK, OrtSession, RunStopped, Stopper
from app.runtime.shapes import batch_buckets, bucket_of
from tests.model_repository import SIDE_PX, write_colour_model, write_word_model
from tests.slow_models import SLOW_WORDS, write_slow_model

MAX_ROWS = 11


class Spy:
    """A session of ONNX Runtime that notes each run: its options, its thread, and the rows of what is bound."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.graph_ids: list[str | None] = []
        self.shrunk: list[bool] = []
        self.threads: set[str] = set()
        self.delay_s = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, names: Any, tensors: Any, options: Any) -> Any:
        self.shrunk.append(_entry(options, SHRINK) == "cpu:0")
        return self._session.run(names, tensors, options)

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.graph_ids.append(_entry(options, GRAPH_ID))
        self.shrunk.append(_entry(options, SHRINK) == "cpu:0")
        self.threads.add(threading.current_thread().name)
        time.sleep(self.delay_s)
        self._session.run_with_iobinding(binding, options)


def _entry(options: Any, key: str) -> str | None:
    try:
        return str(options.get_run_config_entry(key))
    except RuntimeError:
        return None


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_colour_model(tmp_path) / "model.onnx"


@pytest.fixture
def spec(graph: Path) -> Graph:
    return load_manifest(graph.parent).graphs["model"]


def spied(path: Path, **options: Any) -> tuple[DeviceSession, Spy]:
    session = DeviceSession(path, CPU, memory="cpu", **options)
    session._session = spy = Spy(session._session)
    return session, spy


def pixels(rows: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    return {"pixel_values": np.random.default_rng(seed).integers(0, 256, (rows, 3, SIDE_PX, SIDE_PX), dtype=np.uint8)}


@pytest.mark.parametrize("captured", [False, True])
def test_every_batch_is_answered_as_on_the_processor(graph: Path, spec: Graph, captured: bool) -> None:
    session, spy = spied(graph, cuda_graphs=captured)
    if captured:
        session.capture(spec, batch_buckets(MAX_ROWS))
        assert session.buckets == [1, 2, 4, 8, 11]
        assert spy.graph_ids == ["11", "8", "4", "2", "1"]
    spy.graph_ids.clear()
    plain = OrtSession(graph)
    for rows in (*range(1, MAX_ROWS + 3), 1):
        np.testing.assert_array_equal(session.run(pixels(rows, rows))["logits"], plain.run(pixels(rows, rows))["logits"])
    buckets = [bucket_of(rows, session.buckets) for rows in (*range(1, MAX_ROWS + 3), 1)]
    wanted = [None] * len(buckets) if not captured else [NO_GRAPH if bucket is None else str(bucket) for bucket in buckets]
    assert spy.graph_ids == wanted


def test_an_answer_is_not_written_over_by_the_next_one(graph: Path, spec: Graph) -> None:
    session, _ = spied(graph, cuda_graphs=True)
    session.capture(spec, [4])
    first = session.run(pixels(3, 1))["logits"]
    kept = first.copy()
    session.run(pixels(4, 2))
    np.testing.assert_array_equal(first, kept)
    assert first.shape == (3, 3)
    assert first.flags.writeable


def test_several_inputs_of_any_length_go_through_the_same_path(tmp_path: Path) -> None:
    path = write_word_model(tmp_path) / "model.onnx"
    session, plain = DeviceSession(path, CPU, memory="cpu"), OrtSession(path)
    for rows, tokens in [(1, 1), (3, 7), (2, 2)]:
        tensors = {"input_ids": np.full((rows, tokens), 2), "lengths": np.full(rows, tokens)}
        np.testing.assert_array_equal(session.run(tensors)["logits"], plain.run(tensors)["logits"])


def test_an_input_that_is_a_view_is_taken_as_it_looks(graph: Path, spec: Graph) -> None:
    tensors = {"pixel_values": pixels(8)["pixel_values"][::2, :, :, ::-1]}
    plain = OrtSession(graph).run(tensors)["logits"]
    session, _ = spied(graph, cuda_graphs=True)
    np.testing.assert_array_equal(session.run(tensors)["logits"], plain)
    session.capture(spec, [4])
    np.testing.assert_array_equal(session.run(tensors)["logits"], plain)


def test_all_runs_are_made_in_one_thread_whoever_asks(graph: Path, spec: Graph) -> None:
    session, spy = spied(graph, cuda_graphs=True)
    session.capture(spec, [2])
    plain = OrtSession(graph)
    with ThreadPoolExecutor(8) as executor:
        answers = list(executor.map(lambda seed: session.run(pixels(2, seed))["logits"], range(40)))
    for seed, answer in enumerate(answers):
        np.testing.assert_array_equal(answer, plain.run(pixels(2, seed))["logits"])
    assert spy.threads == {"axon-device"}


def test_a_session_that_goes_takes_its_thread_with_it(graph: Path) -> None:
    before = threading.active_count()
    session = DeviceSession(graph, CPU, memory="cpu")
    session.run(pixels(1))
    assert threading.active_count() == before + 1
    del session
    gc.collect()
    give_up_at = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < give_up_at:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_a_run_is_stopped_and_what_waits_behind_it_never_begins(tmp_path: Path) -> None:
    session = DeviceSession(write_slow_model(tmp_path) / "model.onnx", CPU, memory="cpu")
    good, wait = (list(SLOW_WORDS).index(word) for word in ("good", "wait"))
    endless = {"input_ids": np.full((1, 9_000), wait), "lengths": np.array([9_000])}  # most of a minute
    stopper = Stopper()
    threading.Timer(0.1, stopper.stop).start()
    with pytest.raises(RunStopped):
        session.run(endless, stopper)
    with pytest.raises(RunStopped):
        session.run(endless, stopper)
    answered = session.run({"input_ids": np.array([[good]]), "lengths": np.array([1])}, Stopper())
    assert answered["logits"].tolist() == [list(SLOW_WORDS["good"])]


def test_a_captured_run_does_not_begin_when_nobody_waits(graph: Path, spec: Graph) -> None:
    session, spy = spied(graph, cuda_graphs=True)
    session.capture(spec, [1])
    stopper = Stopper()
    stopper.stop()
    with pytest.raises(RunStopped):
        session.run(pixels(1), stopper)
    assert len(spy.graph_ids) == 1  # the capture's own


def test_a_run_that_fails_says_so_to_its_caller_and_the_next_one_is_answered(graph: Path) -> None:
    session = DeviceSession(graph, CPU, memory="cpu")
    with pytest.raises(Exception, match="pixel_values") as caught:
        session.run({"pixel_values": np.zeros((1, 3), dtype=np.uint8)}, Stopper())
    assert not isinstance(caught.value, RunStopped)
    assert session.run(pixels(1))["logits"].shape == (1, 3)


def test_memory_is_given_back_after_shapes_that_are_new_and_only_then(graph: Path) -> None:
    session, spy = spied(graph, shrinks=True)
    for rows in (1, 2, 1, 2, 3, 3):
        session.run(pixels(rows))
    assert spy.shrunk == [True, True, False, False, True, False]
    spy.shrunk.clear()
    for rows in [*range(4, 4 + 64), 1]:  # so many others that the first is new again
        session.run(pixels(rows))
    assert spy.shrunk == [True] * 65
    session, spy = spied(graph)
    session.run(pixels(1))
    assert spy.shrunk == [False]


def test_a_session_on_the_processor_gives_memory_back_in_the_same_way(graph: Path) -> None:
    session = OrtSession(graph, shrinks=True)
    session._session = spy = Spy(session._session)
    for rows in (1, 2, 1):
        session.run(pixels(rows), Stopper())
    assert spy.shrunk == [True, True, False]
