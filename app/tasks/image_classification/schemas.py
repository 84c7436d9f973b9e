"""What clients send and receive."""

from __future__ import annotations

import base64
import io

from PIL import Image, ImageDraw, ImageFilter
from pydantic import BaseModel, Field

from app.api.models import ModelRef
from app.api.validation import Options, Real, Whole
from app.contract.classification import Estimate, OperatingPoint, RocCurve


class ClassificationOptions(Options):
    """How to turn probabilities into a decision: at most one of the four rules."""

    target: str | None = Field(default=None, max_length=64, description="question to decide, of the model's targets", examples=["melanoma"])
    operating_point: str | None = Field(
        default=None, min_length=1, max_length=64, description="named threshold, chosen on validation data", examples=["sensitivity-95"]
    )
    threshold: Real | None = Field(default=None, ge=0, le=1, description="positive at this probability or above")
    min_sensitivity: Real | None = Field(
        default=None, ge=0, le=1, description="the highest threshold that may promise this sensitivity, by validation data"
    )
    false_negative_cost: Real | None = Field(default=None, gt=0, le=1e6, description="how many false alarms one miss is worth")
    top_k: Whole | None = Field(default=None, ge=1, le=1000, description="only the most probable labels")
    augment: bool = Field(default=False, description="average over the picture's rotations and reflections; costs eight runs")


class LabelProbability(BaseModel):
    label: str
    title: str
    probability: float


class DecisionAnswer(BaseModel):
    """Positive or not, and what that threshold achieved on pictures that the model had never seen."""

    target: str
    probability: float
    threshold: float
    operating_point: str | None
    positive: bool
    sensitivity: Estimate | None  # null where it was not measured: of eight views, if the manifest has one view alone
    specificity: Estimate | None
    measured_on: str | None


class RocOptions(Options):
    """Which curve."""

    target: str | None = Field(default=None, max_length=64, description="question, of the model's targets", examples=["melanoma"])
    augment: bool = Field(default=False, description="of the average over a picture's rotations and reflections")


class ClassificationAnswer(BaseModel):
    model: ModelRef
    predictions: list[LabelProbability]
    decision: DecisionAnswer | None
    notice: str | None
    timing_ms: dict[str, float]


class RocAnswer(BaseModel):
    """The curve on the test split, and the named points on it."""

    model: ModelRef
    target: str
    title: str
    labels: list[str]
    roc: RocCurve
    operating_points: list[OperatingPoint]
    default_operating_point: str
    measured_on: str


def example_image() -> str:
    """A small synthetic spot on skin, base64 of a JPEG: the request that the documentation offers."""
    image = Image.new("RGB", (96, 72), (224, 178, 158))
    ImageDraw.Draw(image).ellipse((30, 20, 66, 52), fill=(112, 66, 52))
    buffer = io.BytesIO()
    image.filter(ImageFilter.GaussianBlur(2)).save(buffer, "JPEG", quality=80)
    return base64.b64encode(buffer.getvalue()).decode()
