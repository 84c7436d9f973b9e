"""What a task must bring so that the runtime can serve its models."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from app.contract.manifest import ModelManifest, TensorSpec
from app.runtime.metrics import ServingMetrics
from app.runtime.options import Limits, RuntimeOptions
from app.runtime.run_health import RunHealth
from app.runtime.session import Session

Tensors = dict[str, NDArray[Any]]


class Servable(Protocol):
    """A model that the repository loads, warms up, hands out and drains, whatever it does with requests in between."""

    wide_runs: ClassVar[bool]  # one run at a time over all cores; else as many single-threaded runs at once as there are cores
    manifest: ModelManifest
    directory: Path
    session: Session
    pipeline: Pipeline
    health: RunHealth

    def __init__(
        self,
        manifest: ModelManifest,
        directory: Path,
        pipeline: Any,
        session: Session,
        executor: Executor,
        metrics: ServingMetrics,
        options: RuntimeOptions,
    ) -> None: ...

    @property
    def name(self) -> str: ...

    def warm_up(self) -> None:
        """Replay the golden request, if it has one. Raises ModelRejected when the graph no longer answers as it did at export."""
        ...

    async def infer(self, inputs: Tensors, deadline: float | None = None) -> Tensors:
        """The graph's outputs for its own inputs, or for the pipeline's `encoded_input`: they fit those specifications.

        `deadline` is a time.monotonic() instant. Raises what `Pipeline.rows`, the queue and the run raise.
        """
        ...

    def stop_accepting(self) -> None:
        """From now on new work is refused; what was accepted still runs."""
        ...

    async def drain(self, grace_s: float) -> None:
        """Refuse new work, finish what was accepted, and fail what is left after `grace_s` seconds."""
        ...


class Pipeline(Protocol):
    """The procedure around a graph. Built once a model; its methods are called from several threads.

    An item is what a client sends (image bytes, a text). A row is one entry of a batch: an item may need several
    (eight views of a picture, a text and its occlusions). A row knows the bytes that it holds in memory, its `nbytes`.
    """

    task: ClassVar[str]
    served_by: ClassVar[type[Servable]]  # the kind of model that this task's requests want
    encoded_input: ClassVar[TensorSpec | None]  # items as they are, in the place of the graph's inputs; None: there is no such thing
    postprocess_blocks: ClassVar[bool]  # called off the event loop then, as to encode a picture is work; else it is cheap

    @classmethod
    def load(cls, manifest: ModelManifest, directory: Path, limits: Limits = ...) -> Self: ...

    def preprocess(self, item: Any, options: Any) -> list[Any]:
        """One item to its rows. Blocking work: called off the event loop."""
        ...

    def rows(self, inputs: Tensors) -> Iterable[Any]:
        """The graph's inputs, or `encoded_input`, to the rows that `collate` puts together again.

        The tensors fit their specifications; what they hold is checked here, for a wrong value must not fail the
        batch mates. Blocking work, a row at a time: called off the event loop. Raises BadRequest, InputTooLarge, and
        as `preprocess` does.
        """
        ...

    def bucket(self, row: Any) -> Hashable:
        """Rows of one bucket may share a batch."""
        ...

    def pixels(self, row: Any) -> int:
        """How many pixels a row has, where rows differ in that: a batch has at most `max_batch_pixels`. Else 0."""
        ...

    def collate(self, rows: Sequence[Any]) -> Tensors:
        """Rows to the graph's inputs, first axis the batch."""
        ...

    def postprocess(self, rows: list[Any], outputs: list[dict[str, NDArray[Any]]], options: Any) -> Any:
        """One item's rows and what the graph answered for each, to the task's answer."""
        ...

    def default_options(self) -> Any:
        """Options of a request that names none."""
        ...


def nbytes_of(tensors: Tensors) -> int:
    """What the tensors hold in memory."""
    return sum(tensor.nbytes if tensor.dtype != np.object_ else sum(map(sys.getsizeof, tensor.flat)) for tensor in tensors.values())


def split_rows(tensors: Tensors, count: int) -> list[dict[str, NDArray[Any]]]:
    """A batch's outputs, one dictionary a row."""
    return [{name: np.asarray(tensor[index]) for name, tensor in tensors.items()} for index in range(count)]


def stack_rows(rows: Sequence[dict[str, NDArray[Any]]], outputs: Sequence[TensorSpec]) -> Tensors:
    """The rows of one request as tensors again, first axis the rows; of no rows, empty tensors."""
    if not rows:
        return {spec.name: np.zeros([max(0, size) for size in (0, *spec.shape[1:])], dtype=spec.dtype) for spec in outputs}
    return {spec.name: np.stack([row[spec.name] for row in rows]) for spec in outputs}
