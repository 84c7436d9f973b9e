"""A file with weights stored at half their size answers as the module with rounded weights does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from app.contract.manifest import TensorSpec
from training.kit.export import export, proved
from training.kit.half import rounded, store_half

INPUTS = [TensorSpec(name="x", datatype="FP32", shape=(-1, 64))]
OUTPUTS = [TensorSpec(name="y", datatype="FP32", shape=(-1, 128))]
CASES = [{"x": np.random.default_rng(0).standard_normal((rows, 64), dtype=np.float32)} for rows in (1, 3)]


def test_the_file_is_half_as_large_and_answers_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = rounded(nn.Linear(64, 128))
    path = tmp_path / "model.onnx"
    export("linear", module, path, INPUTS, OUTPUTS, CASES, atol=1e-5)
    before = path.stat().st_size
    store_half(path)
    assert path.stat().st_size < 0.6 * before
    proved("linear", module, path, INPUTS, OUTPUTS, CASES, atol=1e-5)


def test_rounded_weights_are_those_that_float16_holds() -> None:
    module = rounded(nn.Linear(8, 8))
    assert torch.equal(module.weight, module.weight.half().float())


def test_a_weight_beyond_float16_is_refused_by_its_name() -> None:
    module = nn.Linear(2, 2)
    nn.init.constant_(module.bias, 1e6)
    with pytest.raises(OverflowError, match="bias has values that float16 cannot hold"):
        rounded(module)
