"""The golden request: one request as a client would send it, with the answer that the graph gave at export.

The server replays it at every start, so a model whose weights, tokenizer or preprocessing drifted is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.contract.manifest import Golden
from training.kit.export import open_session


def record(graph: Path, request: str | bytes, inputs: Mapping[str, NDArray[Any]], atol: float, suffix: str = ".txt") -> Golden:
    """Write golden/request(suffix) and golden/outputs.npz beside `graph`.

    `inputs` is what app.contract makes of the request: the caller preprocesses with the same classes as the server.
    A text wants `.txt`; bytes take the suffix of their format, such as `.png`.
    """
    folder = graph.parent / "golden"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"request{suffix}"
    file.write_bytes(request.encode("utf-8") if isinstance(request, str) else request)
    session = open_session(graph)
    names = [node.name for node in session.get_outputs()]
    answers = dict(zip(names, session.run(None, dict(inputs)), strict=True))
    np.savez(folder / "outputs.npz", **answers)
    return Golden(request=f"golden/{file.name}", outputs="golden/outputs.npz", atol=atol)
