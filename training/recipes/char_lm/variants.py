"""Which file to serve? The same weights in five ways: bytes, nats, time of a step, and whether an answer depends on the batch."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import QuantType, quantize_dynamic

from training.kit.export import export, open_session
from training.kit.half import store_half
from training.recipes.char_lm import graph
from training.recipes.char_lm.model import CharLSTM
from training.recipes.char_lm.quantized import QuantizedStep
from training.recipes.char_lm.scoring import Ids, Reader, served, side_by_side
from training.recipes.char_lm.step import Step
from training.recipes.char_lm.tensors import parity_cases, tensor_specs

STREAMS = 32
TIMED_STEPS = 300
ATOL = 1e-4


def measure(network: CharLSTM, ids: Ids, folder: Path) -> dict[str, dict[str, Any]]:
    """Figures of each variant, on one core; the files stay in `folder`."""
    files = write(network, folder)
    return {name: figures(path, ids) for name, path in files.items()}


def write(network: CharLSTM, folder: Path) -> dict[str, Path]:
    names = ("float32", "float16 stored", "int8, ONNX Runtime's dynamic LSTM", "int8, fixed scale, 8 bits", "int8, fixed scale, 7 bits")
    files = {name: folder / f"{number}.onnx" for number, name in enumerate(names)}
    full, half, dynamic, eight_bits, seven_bits = files.values()
    inputs, outputs = tensor_specs(network)
    export("float32", Step(network), full, inputs, outputs, parity_cases(network), ATOL)
    shutil.copy(full, half)
    store_half(half)
    quantize_dynamic(full, dynamic, op_types_to_quantize=["LSTM"], per_channel=True, weight_type=QuantType.QInt8)
    graph.write(QuantizedStep(network, weight_limit=127), eight_bits)
    graph.write(QuantizedStep(network), seven_bits)
    return files


def figures(path: Path, ids: Ids) -> dict[str, Any]:
    reader = served(open_session(path))
    return {
        "bytes": path.stat().st_size,
        "nats_per_character": round(float(side_by_side(reader, ids, STREAMS, path.stem).mean()), 5),
        "step_us": {str(batch): round(step_us(reader, batch), 1) for batch in (1, 8, 32)},
        "batch_dependence": float(f"{batch_dependence(reader, ids):.1e}"),
    }


def step_us(reader: Reader, batch: int) -> float:
    """Processor time of a step of one character, in microseconds: the 20th percentile, since others use the machine too."""
    ids, state, taken = np.zeros((batch, 1), dtype=np.int64), reader.zero_state(batch), []
    for _ in range(TIMED_STEPS):
        began = time.process_time_ns()
        _, state = reader.read(ids, state)
        taken.append(time.process_time_ns() - began)
    return float(np.percentile(taken, 20)) / 1000


def batch_dependence(reader: Reader, ids: Ids, batch: int = 32, length: int = 50) -> float:
    """The largest difference of a logit between a text that is read alone and the same text among others."""
    rows = ids[: batch * length].reshape(batch, length)
    together, _ = reader.read(rows, reader.zero_state(batch))
    alone = [reader.read(row[None], reader.zero_state(1))[0][0] for row in rows[:4]]
    return float(np.abs(together[:4] - np.stack(alone)).max())
