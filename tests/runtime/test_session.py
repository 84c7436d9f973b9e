"""OrtSession: honest about its provider, silent about us, and true to its file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from app.errors import ModelRejected
from app.runtime.session import OrtSession, RunStopped, Stopper
from tests.model_repository import GAIN, SIDE_PX, write_colour_model, write_word_model
from tests.slow_models import SLOW_WORDS, write_slow_model


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_colour_model(tmp_path) / "model.onnx"


def test_a_run_answers_by_output_name(graph: Path) -> None:
    pixels = np.full((2, 3, SIDE_PX, SIDE_PX), 100, dtype=np.uint8)
    answered = OrtSession(graph).run({"pixel_values": pixels})
    assert answered["logits"] == pytest.approx(np.full((2, 3), 100 * GAIN))


def test_the_signature_is_the_files(graph: Path, tmp_path: Path) -> None:
    assert OrtSession(graph).signature() == (
        {"pixel_values": ("UINT8", (-1, 3, SIDE_PX, SIDE_PX))},
        {"logits": ("FP32", (-1, 3))},
    )
    inputs, _ = OrtSession(write_word_model(tmp_path) / "model.onnx").signature()
    assert inputs == {"input_ids": ("INT64", (-1, -1)), "lengths": ("INT64", (-1,))}


def test_the_processor_is_what_was_asked_for(graph: Path) -> None:
    session = OrtSession(graph)
    assert session.rtol == 0
    assert session.requested_provider == session.actual_provider == "CPUExecutionProvider"


@pytest.mark.parametrize("content", [b"", b"not a graph", b"\x08\x07\x12\x04"])
def test_a_file_that_is_no_graph_is_refused_without_the_librarys_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelRejected) as caught:
        OrtSession(path)
    assert str(tmp_path) not in str(caught.value)
    assert "export it again" in str(caught.value)


def test_telemetry_is_off_before_onnx_runtime_is_imported() -> None:
    """A fresh interpreter notes what the variable says at the moment of the import."""
    script = """
import importlib.abc, os, sys
class Note(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Note())
import app.runtime.session
"""
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert result.stdout.split() == ["1"]


def test_a_run_is_stopped_from_another_thread_and_the_session_goes_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    session = OrtSession(write_slow_model(tmp_path) / "model.onnx")
    good, wait = (list(SLOW_WORDS).index(word) for word in ("good", "wait"))
    endless = {"input_ids": np.full((1, 9_000), wait), "lengths": np.array([9_000])}  # most of a minute
    stopper = Stopper()
    threading.Timer(0.1, stopper.stop).start()
    started = time.monotonic()
    with pytest.raises(RunStopped):
        session.run(endless, stopper)
    assert 0.05 < time.monotonic() - started < 5
    with pytest.raises(RunStopped):
        session.run(endless, stopper)  # it does not begin
    answered = session.run({"input_ids": np.array([[good]]), "lengths": np.array([1])}, Stopper())
    assert answered["logits"].tolist() == [list(SLOW_WORDS["good"])]
    assert capfd.readouterr() == ("", "")  # to be stopped is no error


def test_a_run_that_fails_is_not_one_that_was_stopped(graph: Path) -> None:
    with pytest.raises(Exception, match="pixel_values") as caught:
        OrtSession(graph).run({"pixel_values": np.zeros((1, 3), dtype=np.uint8)}, Stopper())
    assert not isinstance(caught.value, RunStopped)
