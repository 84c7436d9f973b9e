"""What clients send and receive."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.api.models import ModelRef
from app.api.validation import JsonFields


class TextClassificationRequest(JsonFields):
    model_config = ConfigDict(
        json_schema_extra={"example": {"text": ["Not bad at all.", "Two hours that I will never get back."], "explain": False}},
    )

    text: str | Annotated[list[str], Field(fail_fast=True)] = Field(description="one text, or a list; the answer has one result an input")
    explain: bool = Field(default=False, description="name the words that pushed the answer, by occlusion")


class Attribution(BaseModel):
    """A piece of the text, and how much the label's probability falls when it is taken out."""

    text: str
    start: int = Field(description="in Unicode code points, from the beginning of the text")
    end: int = Field(description="in Unicode code points; the first that is no longer in the piece")
    contribution: float  # p(label | text) - p(label | text without this piece); negative: it spoke against the label


class Explanation(BaseModel):
    method: str  # "occlusion"
    attributions: list[Attribution]


class TextResult(BaseModel):
    label: str
    probability: float
    scores: dict[str, float]
    truncated: bool  # the text was longer than the model reads; its middle was left out
    explanation: Explanation | None = None


class TextClassificationAnswer(BaseModel):
    model: ModelRef
    results: list[TextResult]
    notice: str | None
    timing_ms: dict[str, float]
