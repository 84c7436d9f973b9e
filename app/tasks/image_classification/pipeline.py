"""Picture -> pixels -> logits -> calibrated probabilities -> decision."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.contract.classification import Decision, Target, decide, softmax
from app.contract.images import ImageProcessor, dihedral_views
from app.contract.manifest import Graph, ModelManifest, TensorSpec
from app.errors import InvalidOption, ModelRejected
from app.runtime.options import Limits
from app.runtime.served_model import ServedModel
from app.runtime.stages import decoding
from app.tasks.image_classification.schemas import ClassificationOptions

Pixels = NDArray[np.uint8]  # (3, H, W)


@dataclass(frozen=True, slots=True)
class Classification:
    """One picture's answer, before it is written as JSON."""

    probabilities: NDArray[np.float64]  # (labels,)
    target: Target | None
    decision: Decision | None


class ImageClassificationPipeline:
    """The procedure around one classifier."""

    task = "image-classification"
    served_by = ServedModel
    encoded_input = TensorSpec(name="image", datatype="BYTES", shape=(-1,))  # JPEG, PNG or WebP
    postprocess_blocks = False

    def __init__(self, manifest: ModelManifest, processor: ImageProcessor, limits: Limits) -> None:
        graph = manifest.graphs["model"]
        self._input, self._output = graph.inputs[0].name, graph.outputs[0].name
        self._manifest = manifest
        self._processor = processor
        self._limits = limits
        self._targets = {target.name: target for target in manifest.targets}
        self._index = {label.name: index for index, label in enumerate(manifest.labels)}

    @classmethod
    def load(cls, manifest: ModelManifest, directory: Path, limits: Limits = Limits()) -> Self:  # noqa: B008 - it is frozen
        if not isinstance(manifest.processor, ImageProcessor) or not manifest.labels:
            raise ModelRejected("image-classification wants an image processor and labels; complete manifest.json")
        _check_graph(manifest.graphs["model"], manifest.processor, len(manifest.labels))
        if len(manifest.labels) < 2:
            raise ModelRejected("image-classification wants two labels or more: of one alone the probability is always 1")
        return cls(manifest, manifest.processor, limits)

    def default_options(self) -> ClassificationOptions:
        return ClassificationOptions()

    def preprocess(self, item: bytes, options: ClassificationOptions) -> list[Pixels]:
        """An encoded picture to one view, or to all its rotations and reflections."""
        self._decide(None, options)  # a wrong option is refused before the picture is decoded
        with decoding():
            image = self._processor.decode(item, self._limits.max_image_pixels)
        pixels = self._processor.to_pixels(image)
        return dihedral_views(pixels) if options.augment else [pixels]

    def rows(self, inputs: dict[str, NDArray[Any]]) -> Iterator[Pixels]:
        if self.encoded_input.name not in inputs:
            yield from inputs[self._input]
            return
        for item in inputs[self.encoded_input.name]:
            yield from self.preprocess(item, self.default_options())

    def bucket(self, row: Pixels) -> Hashable:
        return row.shape

    def pixels(self, row: Pixels) -> int:
        return 0

    def collate(self, rows: Sequence[Pixels]) -> dict[str, NDArray[Any]]:
        return {self._input: np.stack(rows)}  # (B, 3, H, W)

    def postprocess(self, rows: list[Pixels], outputs: list[dict[str, NDArray[Any]]], options: ClassificationOptions) -> Classification:
        logits = np.stack([output[self._output] for output in outputs])  # (views, labels)
        probabilities = softmax(logits, self._manifest.temperature).mean(axis=0)
        target, decision = self._decide(probabilities, options)
        return Classification(probabilities, target, decision)

    def target(self, name: str | None) -> Target | None:
        """The target asked for, or the default one; None for a model without targets. Raises InvalidOption."""
        if name is None:
            return self._targets[self._manifest.default_target] if self._manifest.default_target else None
        if name not in self._targets:
            raise InvalidOption(f"there is no target {name!r}; available: {', '.join(self._targets) or 'none'}", param="target")
        return self._targets[name]

    def _decide(self, probabilities: NDArray[np.float64] | None, options: ClassificationOptions) -> tuple[Target | None, Decision | None]:
        """Without probabilities the options alone are checked."""
        target = self.target(options.target)
        if target is None:
            _refuse_rules(options)
            return None, None
        probability = 0.0 if probabilities is None else float(sum(probabilities[self._index[label]] for label in target.labels))
        decision = decide(
            target,
            probability,
            operating_point=options.operating_point,
            threshold=options.threshold,
            min_sensitivity=options.min_sensitivity,
            false_negative_cost=options.false_negative_cost,
            augmented=options.augment,
        )
        return target, decision


def _check_graph(graph: Graph, processor: ImageProcessor, labels: int) -> None:
    """One input of pixels as the processor makes them, one output of logits, whatever their names. Raises ModelRejected."""
    if graph.inputs[0].name == ImageClassificationPipeline.encoded_input.name:
        raise ModelRejected("a graph's input may not be called image: under /v2 that is a whole file; export it with another name")
    taken, given = [(spec.datatype, spec.shape) for spec in graph.inputs], [(spec.datatype, spec.shape) for spec in graph.outputs]
    size = processor.height, processor.width
    takes = [("UINT8", (-1, 3, *each)) for each in (size, (-1, -1))]
    if len(taken) != 1 or taken[0] not in takes or given != [("FP32", (-1, labels))]:
        raise ModelRejected(
            f"image-classification wants a graph from UINT8 {[-1, 3, *size]} to the logits of its labels, FP32 {[-1, labels]}; "
            "pixels are normalised inside the graph"
        )


def _refuse_rules(options: ClassificationOptions) -> None:
    """A threshold means nothing to a model without targets: better refused than ignored."""
    for rule in ("operating_point", "threshold", "min_sensitivity", "false_negative_cost"):
        if getattr(options, rule) is not None:
            raise InvalidOption(f"the model has no targets, so {rule} means nothing here", param=rule)
