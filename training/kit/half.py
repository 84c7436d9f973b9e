"""An ONNX file at half its size: weights stored as float16 and cast back to float32, which ONNX Runtime does once, at load.

The arithmetic stays in float32. Round the module's own weights first (`rounded`), and the file answers as the module does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SMALLEST = 64  # numbers of a tensor that is worth a node

Module = TypeVar("Module", bound=nn.Module)


def rounded(module: Module) -> Module:
    """The same module, its floating-point parameters rounded to what float16 can hold. Raises OverflowError where it cannot."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            half = parameter.half()
            if not torch.isfinite(half).all():
                raise OverflowError(f"{name} has values that float16 cannot hold; store this model in float32")
            parameter.copy_(half)
    return module


def store_half(path: Path) -> None:
    """Rewrite the file: every larger float32 weight becomes float16 with a Cast behind it. Biases and the like stay."""
    model = onnx.load(path)
    graph, casts = model.graph, []
    for i, tensor in enumerate(graph.initializer):
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= SMALLEST:
            name = tensor.name
            graph.initializer[i].CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}_half"))
            casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model)
    onnx.save(model, path)
