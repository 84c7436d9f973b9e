"""Conversion to fp16: the answers stay close, the inputs and outputs stay what they are, and what cannot be converted is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from app.errors import ModelRejected
from app.runtime.device import RTOL
from app.runtime.half_precision import in_half_precision
from app.runtime.session import OrtSession
from tests.character_models import write_summing_model
from tests.model_repository import SIDE_PX, write_colour_model
from tests.models.conftest import SHIPPED
from tests.slow_models import write_slow_model


def test_the_graph_is_another_and_answers_nearly_the_same(tmp_path: Path) -> None:
    path = write_colour_model(tmp_path) / "model.onnx"
    plain, half = OrtSession(path), OrtSession(path, graph=in_half_precision(path))
    assert half.signature() == plain.signature()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, SIDE_PX, SIDE_PX), dtype=np.uint8)
    expected, answered = (session.run({"pixel_values": pixels})["logits"] for session in (plain, half))
    assert not np.array_equal(answered, expected)  # it is fp16
    np.testing.assert_allclose(answered, expected, atol=RTOL["fp16"] * np.abs(expected).max())


@pytest.mark.parametrize("name", ["skin-lesion", "sentiment", "style-transfer"])
def test_shipped_models_that_can_be_converted_load(name: str) -> None:
    path = SHIPPED / name / "1" / "model.onnx"
    half = OrtSession(path, graph=in_half_precision(path))
    assert half.signature() == OrtSession(path).signature()


def test_a_graph_with_a_loop_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match="loops cannot be converted to fp16; set AXON_GPU_PRECISION=fp32"):
        in_half_precision(write_slow_model(tmp_path) / "model.onnx")
    with pytest.raises(ModelRejected, match="loops"):
        in_half_precision(SHIPPED / "anna" / "1" / "model.onnx")


def test_without_the_converters_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_summing_model(tmp_path) / "model.onnx"
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelRejected, match=r"fp16 needs the package onnx; install axon\[gpu\]"):
        in_half_precision(path)


def test_what_is_no_graph_is_refused_in_our_own_words(tmp_path: Path) -> None:
    (path := tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(ModelRejected, match=r"model.onnx cannot be converted to fp16 \(DecodeError\)"):
        in_half_precision(path)
