"""A graph whose weights and arithmetic are fp16, made from one in fp32 when it is loaded; its inputs and outputs stay as they are.

ONNX Runtime's own converter, in its package beside the runtime, does it; it needs the package `onnx`, which the extra
`gpu` brings.
"""

from __future__ import annotations

import logging
from pathlib import Path

from app.errors import ModelRejected

logger = logging.getLogger("axon.models")

LOOPS = ("Loop", "Scan")  # the converter leaves their bodies half converted, and ONNX Runtime crashes on what it leaves


def in_half_precision(path: Path) -> bytes:
    """The converted graph, serialised. Raises ModelRejected for one that cannot be converted.

    Whether its answers are still good is found out afterwards, by the golden request.
    """
    try:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError:
        raise ModelRejected("fp16 needs the package onnx; install axon[gpu], or set AXON_GPU_PRECISION=fp32") from None
    try:
        model = onnx.load(path)
        if any(node.op_type in LOOPS for node in model.graph.node):
            raise ModelRejected(
                "a graph with loops cannot be converted to fp16; set AXON_GPU_PRECISION=fp32, or list it in AXON_CPU_MODELS"
            )
        converted: bytes = convert_float_to_float16(model, keep_io_types=True).SerializeToString()
    except ModelRejected:
        raise
    except Exception as error:  # the converter raises whatever happens to it
        logger.exception("%s cannot be converted to fp16", path.name)
        raise ModelRejected(f"{path.name} cannot be converted to fp16 ({type(error).__name__}); set AXON_GPU_PRECISION=fp32") from None
    return converted
