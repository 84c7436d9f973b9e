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

from app.runtime.device import CPU
from app.runtime.device_session import DeviceSession
from app.runtime.session import SHRINK, OrtSession, RunStopped, Stopper
from tests.model_repository import SIDE_PX, write_colour_model, write_word_model
from tests.slow_models import SLOW_WORDS, write_slow_model

MAX_ROWS = 11


class Spy:
    """A session of ONNX Runtime that notes each run: its options, its thread, and its rows."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.rows: list[int] = []
        self.shrunk: list[bool] = []
        self.threads: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, names: Any, tensors: Any, options: Any) -> Any:
        self.shrunk.append(_entry(options, SHRINK) == "cpu:0")
        return self._session.run(names, tensors, options)

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.shrunk.append(_entry(options, SHRINK) == "cpu:0")
        self.threads.add(threading.current_thread().name)
        self._session.run_with_iobinding(binding, options)
        self.rows.append(len(binding.get_outputs()[0].numpy()))


def _entry(options: Any, key: str) -> str | None:
    try:
        return str(options.get_run_config_entry(key))
    except RuntimeError:
        return None


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_colour_model(tmp_path) / "model.onnx"


def spied(path: Path, **options: Any) -> tuple[DeviceSession, Spy]:
    session = DeviceSession(path, CPU, memory="cpu", **options)
    session._session = spy = Spy(session._session)
    return session, spy


def pixels(rows: int, seed: int = 0) -> dict[str, NDArray[Any]]:
    return {"pixel_values": np.random.default_rng(seed).integers(0, 256, (rows, 3, SIDE_PX, SIDE_PX), dtype=np.uint8)}


@pytest.mark.parametrize("fixed", [None, MAX_ROWS])
def test_every_batch_is_answered_as_on_the_processor(graph: Path, fixed: int | None) -> None:
    session, spy = spied(graph, rows=fixed)
    plain = OrtSession(graph)
    sizes = (*range(1, MAX_ROWS + 3), 1)
    for rows in sizes:
        np.testing.assert_array_equal(session.run(pixels(rows, rows))["logits"], plain.run(pixels(rows, rows))["logits"])
    assert spy.rows == [max(rows, fixed or 0) for rows in sizes]  # more than the fixed number run as they are


def test_an_answer_is_not_written_over_by_the_next_one(graph: Path) -> None:
    session, _ = spied(graph, rows=4)
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


@pytest.mark.parametrize("fixed", [None, 4, 5])
def test_an_input_that_is_a_view_is_taken_as_it_looks(graph: Path, fixed: int | None) -> None:
    tensors = {"pixel_values": pixels(8)["pixel_values"][::2, :, :, ::-1]}
    session, _ = spied(graph, rows=fixed)
    np.testing.assert_array_equal(session.run(tensors)["logits"], OrtSession(graph).run(tensors)["logits"])


def test_all_runs_are_made_in_one_thread_whoever_asks(graph: Path) -> None:
    session, spy = spied(graph, rows=3)
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


def test_a_run_does_not_begin_when_nobody_waits(graph: Path) -> None:
    session, spy = spied(graph)
    stopper = Stopper()
    stopper.stop()
    with pytest.raises(RunStopped):
        session.run(pixels(1), stopper)
    assert spy.threads == set()


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
