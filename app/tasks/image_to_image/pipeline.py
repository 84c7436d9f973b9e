"""Picture -> pixels and the weights of the choices -> another picture, encoded as the client wants it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import JsonValue

from app.api.validation import MAX_ECHO_CHARS, validate
from app.contract.conditions import Condition, Weights
from app.contract.images import PhotographProcessor, encode, to_image
from app.contract.manifest import ModelManifest, TensorSpec
from app.errors import BadRequest, InputTooLarge, InvalidOption, ModelRejected
from app.runtime.options import Limits
from app.runtime.pipeline import Tensors
from app.runtime.served_model import ServedModel
from app.runtime.stages import decoding
from app.tasks.image_to_image.schemas import FORMS, JSON, Order, PictureOptions

SIGNATURE = {"pixel_values": ("UINT8", 4), "reconstruction": ("FP32", 4)}  # datatype and axes
CONDITION = {"condition": ("FP32", 2)}


@dataclass(frozen=True, slots=True)
class PictureRow:
    """One picture, and the choices by which it is drawn."""

    pixels: NDArray[np.uint8]  # (3, H, W)
    condition: Weights | None  # (C,)

    @property
    def nbytes(self) -> int:
        return self.pixels.nbytes


@dataclass(frozen=True, slots=True)
class Picture:
    """An answer, encoded."""

    data: bytes
    media_type: str
    width: int
    height: int


class ImageToImagePipeline:
    """The procedure around one network that draws."""

    task = "image-to-image"
    served_by = ServedModel
    encoded_input = TensorSpec(name="image", datatype="BYTES", shape=(-1,))  # JPEG, PNG or WebP
    postprocess_blocks = True

    def __init__(self, condition: Condition | None, processor: PhotographProcessor, limits: Limits) -> None:
        self._condition = condition
        self._processor = processor
        self._limits = limits

    @classmethod
    def load(cls, manifest: ModelManifest, directory: Path, limits: Limits = Limits()) -> Self:  # noqa: B008 - it is frozen
        graph = manifest.graphs["model"]
        signature = {spec.name: (spec.datatype, len(spec.shape)) for spec in (*graph.inputs, *graph.outputs)}
        if not isinstance(manifest.processor, PhotographProcessor):
            raise ModelRejected("image-to-image wants a photograph processor; complete manifest.json")
        if CONDITION | signature != CONDITION | SIGNATURE or [spec.name for spec in graph.outputs] != ["reconstruction"]:
            raise ModelRejected(
                "image-to-image wants a graph from pixel_values, and condition, to reconstruction: "
                "UINT8 (B, 3, H, W), FP32 (B, choices), FP32 (B, 3, H, W); export the model again"
            )
        return cls(manifest.condition, manifest.processor, limits)

    def default_options(self) -> Order:
        return self.order({})

    def order(self, options: Mapping[str, Any], form: str = FORMS[0]) -> Order:
        """A client's options, understood. Raises InvalidOption, which says what the option may be."""
        self._refuse_unknown(options)
        own = {name: value for name, value in options.items() if name in self._own_options()}
        checked = validate(PictureOptions, {name: value for name, value in options.items() if name not in own})
        condition, understood = self._weigh(own, checked.strength)
        low, high = self._processor.min_side_px, self._processor.max_side_px
        side = high if checked.max_side_px is None else checked.max_side_px
        if not low <= side <= high:
            raise InvalidOption(f"max_side_px must be between {low} and {high}", param="max_side_px")
        understood |= {"preserve_colour": checked.preserve_colour, "max_side_px": side}
        return Order(condition, checked.preserve_colour, side, form, understood)

    def preprocess(self, item: bytes, options: Order) -> list[PictureRow]:
        with decoding():
            image = self._processor.decode(item, self._limits.max_image_pixels, options.max_side_px)
        pixels = self._processor.to_pixels(image, options.max_side_px)
        return [PictureRow(pixels, options.condition)]

    def rows(self, inputs: Tensors) -> Iterator[PictureRow]:
        if self.encoded_input.name in inputs:
            yield from self._decoded(inputs[self.encoded_input.name])
            return
        pixels, conditions = inputs["pixel_values"], inputs.get("condition")  # (B, 3, H, W), (B, C)
        self._check_sides(pixels)
        if conditions is not None and len(conditions) != len(pixels):
            raise BadRequest(f"pixel_values has {len(pixels)} rows, condition has {len(conditions)}")
        for index, row in enumerate(pixels):
            yield PictureRow(row, None if conditions is None else self._checked(conditions[index]))

    def bucket(self, row: PictureRow) -> Hashable:
        """One height and width; and one choice, where choices cannot be mixed: the graph runs one of its branches a batch."""
        if self._condition is None or self._condition.mixable or row.condition is None:
            return row.pixels.shape
        return row.pixels.shape, int(row.condition.argmax())

    def pixels(self, row: PictureRow) -> int:
        _, height, width = row.pixels.shape
        return int(height * width)

    def collate(self, rows: Sequence[PictureRow]) -> Tensors:
        tensors: Tensors = {"pixel_values": np.stack([row.pixels for row in rows])}  # (B, 3, H, W)
        if self._condition is not None:
            tensors["condition"] = np.stack([row.condition for row in rows if row.condition is not None])  # (B, C)
        return tensors

    def postprocess(self, rows: list[PictureRow], outputs: list[Tensors], options: Order) -> Picture:
        image = to_image(outputs[0]["reconstruction"])
        if options.preserve_colour:
            image = _with_colours_of(image, rows[0].pixels)
        media_type = FORMS[0] if options.form == JSON else options.form
        return Picture(encode(image, media_type), media_type, image.width, image.height)

    def _own_options(self) -> list[str]:
        """The names by which this model's choices are asked for."""
        return [] if self._condition is None else [self._condition.option, self._condition.plural]

    def _refuse_unknown(self, options: Mapping[str, Any]) -> None:
        known = {*self._own_options(), *PictureOptions.model_fields}
        unknown = next((name[:MAX_ECHO_CHARS] for name in options if name not in known), None)
        if unknown is not None:
            raise InvalidOption(f"{unknown} is not an option here; there are: {', '.join(self._useful_options())}", param=unknown)

    def _useful_options(self) -> list[str]:
        """Those that mean something to this model."""
        condition = self._condition
        if condition is None:
            return ["preserve_colour", "max_side_px"]
        mix = [condition.plural] if condition.mixable else []
        blend = ["strength"] if condition.neutral is not None else []
        return [condition.option, *mix, *blend, "preserve_colour", "max_side_px"]

    def _weigh(self, own: Mapping[str, Any], strength: float | None) -> tuple[Weights | None, dict[str, JsonValue]]:
        """The weights of the choices, and what was understood of the options that ask for them. Raises InvalidOption."""
        condition = self._condition
        if condition is None:
            if strength is not None:
                raise InvalidOption("the model has no choices, so strength means nothing here", param="strength")
            return None, {}
        weights, understood = _chosen(condition, own.get(condition.option), own.get(condition.plural))
        if strength is None and condition.neutral is None:
            return weights, understood
        strength = 1.0 if strength is None else strength
        return condition.blend(weights, strength), understood | {"strength": strength}

    def _decoded(self, items: NDArray[Any]) -> Iterator[PictureRow]:
        """The answers to one request are one tensor, so its pictures must be of one size."""
        options, shape = self.default_options(), None
        for item in items:
            (row,) = self.preprocess(item, options)
            shape = row.pixels.shape if shape is None else shape
            if row.pixels.shape != shape:
                sizes = " and ".join(f"{width} x {height}" for _, height, width in (shape, row.pixels.shape))
                raise BadRequest(f"the pictures of one request must be of one size, not {sizes} px", param="image")
            yield row

    def _check_sides(self, pixels: NDArray[Any]) -> None:
        low, high = self._processor.min_side_px, self._processor.max_side_px
        height, width = pixels.shape[2:]
        if min(height, width) < low:
            raise BadRequest(f"pixel_values is {width} x {height} px; each side needs at least {low}")
        if max(height, width) > high:
            raise InputTooLarge(f"pixel_values is {width} x {height} px; each side may have at most {high}")

    def _checked(self, weights: Weights) -> Weights:
        """Raises BadRequest for weights that the graph has no answer to."""
        condition = self._condition
        if condition is None and not np.isfinite(weights).all():
            raise BadRequest("the weights of condition must be finite numbers")
        if condition is not None and not condition.are_weights(weights):
            rule = "finite numbers of at least 0 that sum to 1, for" if condition.mixable else "a single 1 and else 0, for one of"
            raise BadRequest(f"a row of condition must have {rule}: {', '.join(condition.names)}")
        return weights


def _chosen(condition: Condition, one: Any, several: Any) -> tuple[Weights, dict[str, JsonValue]]:
    if one is not None and several is not None:
        raise InvalidOption(f"give {condition.option} or {condition.plural}, not both", param=condition.plural)
    if several is not None:
        weights = condition.mix(condition.read_shares(several) if condition.mixable else {})
        shares: JsonValue = {name: round(float(weight), 6) for name, weight in zip(condition.names, weights, strict=True) if weight}
        return weights, {condition.plural: shares}
    name = condition.default if one is None else one
    if not isinstance(name, str):
        raise InvalidOption(f"{condition.option} must be one of: {', '.join(condition.names)}", param=condition.option)
    return condition.choose(name), {condition.option: name}


def _with_colours_of(image: Image.Image, pixels: NDArray[np.uint8]) -> Image.Image:
    """The brightness of the one and the colours of the other, (3, H, W): Gatys et al. 2016, "Preserving Color", luminance only."""
    photograph = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    brightness = image.convert("YCbCr").getchannel(0)
    _, blue, red = photograph.convert("YCbCr").split()
    return Image.merge("YCbCr", (brightness, blue, red)).convert("RGB")
