"""What a task must bring so that the runtime can serve its models."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from app.contract.images import MAX_PIXELS
from app.contract.manifest import ModelManifest

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows of one item, where only the pipeline can measure it."""

    max_image_pixels: int = MAX_PIXELS


class Pipeline(Protocol):
    """The procedure around a graph. Built once a model; its methods are called from several threads.

    An item is what a client sends (image bytes, a text). A row is one entry of a batch: an item may need several
    (eight views of a picture, a text and its occlusions).
    """

    task: str

    @classmethod
    def load(cls, manifest: ModelManifest, directory: Path, limits: Limits = ...) -> Self: ...

    def preprocess(self, item: Any, options: Any) -> list[Any]:
        """One item to its rows. Blocking work: called off the event loop."""
        ...

    def bucket(self, row: Any) -> Hashable:
        """Rows of one bucket may share a batch."""
        ...

    def collate(self, rows: Sequence[Any]) -> Tensors:
        """Rows to the graph's inputs, first axis the batch."""
        ...

    def postprocess(self, rows: list[Any], outputs: list[dict[str, NDArray[Any]]], options: Any) -> Any:
        """One item's rows and what the graph answered for each, to the task's answer. Cheap: runs on the event loop."""
        ...

    def default_options(self) -> Any:
        """Options of a request that names none."""
        ...


def split_rows(tensors: Tensors, count: int) -> list[dict[str, NDArray[Any]]]:
    """A batch's outputs, one dictionary a row."""
    return [{name: np.asarray(tensor[index]) for name, tensor in tensors.items()} for index in range(count)]
