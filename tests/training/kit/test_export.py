"""A right module is exported; a wrong one is refused, and the message names what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from torch import Tensor, nn

from app.contract.files import sha256
from app.contract.manifest import TensorSpec
from training.kit import golden
from training.kit.export import ExportError, export, open_session, prove

INPUTS = (TensorSpec(name="values", datatype="FP32", shape=(-1, -1)),)
OUTPUTS = (TensorSpec(name="logits", datatype="FP32", shape=(-1, 2)),)
CASES = [{"values": np.arange(rows * width, dtype=np.float32).reshape(rows, width)} for rows, width in ((1, 4), (3, 7), (2, 1))]


class Sums(nn.Module):
    """(B, T) -> (B, 2): the sum and its double."""

    def forward(self, values: Tensor) -> Tensor:
        total = values.sum(dim=1)
        return torch.stack([total, 2 * total], dim=1)


class FirstRowTwice(nn.Module):
    """Traces as a constant batch of one: what tracing gets wrong."""

    def forward(self, values: Tensor) -> Tensor:
        rows = [values[index].sum() for index in range(len(values))]
        return torch.stack([torch.stack([row, row]) for row in rows])


def test_a_module_is_exported_and_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    graph = export("sums", Sums(), tmp_path / "model.onnx", INPUTS, OUTPUTS, CASES, atol=1e-4)
    assert graph.sha256 == sha256(tmp_path / "model.onnx")
    assert (graph.file, graph.inputs, graph.outputs, graph.atol) == ("model.onnx", INPUTS, OUTPUTS, 1e-4)
    assert capsys.readouterr().out.startswith("export sums: names ok, axes ok, shapes ok, values ok (max |d| ")
    (answer,) = open_session(tmp_path / "model.onnx").run(None, {"values": np.ones((5, 3), dtype=np.float32)})
    assert answer.tolist() == [[3, 6]] * 5


def test_a_graph_that_is_fixed_to_the_traced_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="output axes differ"):
        export("rows", FirstRowTwice(), tmp_path / "model.onnx", INPUTS, OUTPUTS, CASES, atol=1e-4)


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    export("sums", Sums(), path, INPUTS, OUTPUTS, CASES, atol=1e-4)
    return path


def test_another_name_is_refused_first(sums: Path) -> None:
    wanted = (TensorSpec(name="scores", datatype="FP16", shape=(-1, 3)),)
    with pytest.raises(ExportError, match="output names differ"):
        prove(Sums(), sums, INPUTS, wanted, CASES, atol=1e-4)


def test_another_datatype_is_refused(sums: Path) -> None:
    wanted = (TensorSpec(name="logits", datatype="FP16", shape=(-1, 2)),)
    with pytest.raises(ExportError, match="output axes differ"):
        prove(Sums(), sums, INPUTS, wanted, CASES, atol=1e-4)


def test_other_values_are_refused(sums: Path) -> None:
    class Off(Sums):
        def forward(self, values: Tensor) -> Tensor:
            return super().forward(values) + 2e-4

    with pytest.raises(ExportError, match=r"values of logits differ by 2\.0e-04, more than 1e-04, for inputs values \(1, 4\)"):
        prove(Off(), sums, INPUTS, OUTPUTS, CASES, atol=1e-4)


def test_a_value_that_is_no_number_is_refused(sums: Path) -> None:
    class Broken(Sums):
        def forward(self, values: Tensor) -> Tensor:
            return super().forward(values) * torch.nan

    with pytest.raises(ExportError, match="values of logits differ by nan"):
        prove(Broken(), sums, INPUTS, OUTPUTS, CASES, atol=1e-4)


def test_the_golden_request_is_kept_with_what_the_graph_answered(sums: Path) -> None:
    recorded = golden.record(sums, "two words", CASES[0], atol=1e-3)
    assert (sums.parent / recorded.request).read_text() == "two words"
    with np.load(sums.parent / recorded.outputs) as outputs:
        assert outputs["logits"].tolist() == [[6, 12]]
