"""What clients send and receive."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageDraw, ImageFilter
from pydantic import BaseModel, Field, JsonValue

from app.api.models import ModelRef
from app.api.validation import Options, Real, Whole
from app.contract.conditions import Weights
from app.contract.images import MEDIA_TYPES

JSON = "application/json"
FORMS = ("image/png", *(media_type for media_type in MEDIA_TYPES if media_type != "image/png"), JSON)  # of an answer, the default first


class PictureOptions(Options):
    """What every model understands; `style`, `direction` and the like are each model's own."""

    strength: Real | None = Field(
        default=None,
        ge=0,
        le=1,
        description="how much of the style: 0 gives the photograph back; by default 1. Only where there is a neutral choice",
    )
    preserve_colour: bool = Field(default=False, description="keep the photograph's colours: only the brightness is drawn anew")
    max_side_px: Whole | None = Field(
        default=None,
        description="shrink until the longer side has so many pixels; by default, and at most, what the model's card says",
        json_schema_extra={"minimum": 1},
    )


@dataclass(frozen=True, slots=True)
class Order:
    """What one request asks for, understood and checked."""

    condition: Weights | None = None  # (C,)
    preserve_colour: bool = False
    max_side_px: int | None = None
    form: str = FORMS[0]
    understood: dict[str, JsonValue] = field(default_factory=dict)  # the same in the client's words


class PictureAnswer(BaseModel):
    """The picture inside JSON, and what was done."""

    model: ModelRef
    image: str = Field(description="base64 of the picture")
    media_type: str
    width: int
    height: int
    options: dict[str, JsonValue] = Field(description="as they were understood: weights sum to 1, what was left out has its default")
    notice: str | None
    timing_ms: dict[str, float]


CHOICES: list[dict[str, Any]] = [  # of the models that ship; another model has another option, which its card names
    {"name": name, "in": "query", "required": False, "description": description, "schema": {"type": "string", "title": name.title()}}
    for name, description in (
        ("style", "style-transfer: one of its card's choices"),
        ("styles", "style-transfer: several of them with their weights, `starry-night:0.7,great-wave:0.3`"),
        ("direction", "horse2zebra: `horse-to-zebra` or `zebra-to-horse`"),
    )
]

ANSWER: dict[str, Any] = {
    "description": "The picture, in the form that `Accept` likes best; PNG unless it says otherwise",
    "model": PictureAnswer,
    "content": {form: {"schema": {"type": "string", "format": "binary"}} for form in FORMS if form != JSON},
    "headers": {
        name: {"description": description, "schema": {"type": "string", "example": example}}
        for name, description, example in (
            ("X-Model", "which model answered", "style-transfer/1"),
            ("X-Options", "the options as they were understood, JSON", '{"style":"starry-night","strength":1.0}'),
            ("X-Image-Size", "width x height of the answer", "1024x768"),
            ("Server-Timing", "where the time went, in milliseconds", "preprocess;dur=4.1, infer;dur=310.2, total;dur=318.0"),
        )
    },
}


def example_image() -> str:
    """A small synthetic landscape, base64 of a JPEG: the request that the documentation offers."""
    image = Image.new("RGB", (96, 72), (150, 190, 230))
    pen = ImageDraw.Draw(image)
    pen.ellipse((62, 8, 80, 26), fill=(250, 230, 150))
    pen.polygon([(0, 52), (30, 24), (58, 56), (76, 40), (96, 54), (96, 72), (0, 72)], fill=(70, 110, 80))
    buffer = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(1)).save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()
