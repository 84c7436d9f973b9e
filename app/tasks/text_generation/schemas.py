"""What clients send and receive: Axon's own form, and OpenAI's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from app.api.models import ModelRef
from app.api.validation import JsonFields, Real, Whole
from app.contract.sampling import SamplingOptions
from app.errors import InvalidOption

MAX_STOPS = 4
MAX_STOP_CHARS = 256

Stop = Annotated[
    JsonValue,
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": MAX_STOPS}]}),
]
Prompt = Annotated[
    JsonValue,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}},
                {"type": "array", "items": {"type": "integer"}},
                {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
            ]
        }
    ),
]
Seed = Annotated[Whole, Field(ge=-(2**63), lt=2**63, description="the same seed and parameters give the same text")]


class TextGenerationRequest(JsonFields):
    model_config = ConfigDict(
        json_schema_extra={"example": {"prompt": "Happy families ", "max_tokens": 200, "temperature": 0.7, "seed": 1}},
    )

    prompt: str = Field(default="", description="what the text goes on from; an empty one starts a new line")
    max_tokens: Whole = Field(default=200, ge=1, description="length of the text; a character is a token")
    temperature: Real | None = Field(default=None, ge=0, le=2, description="0 takes the most likely; by default the model's own")
    top_k: Whole = Field(default=0, ge=0, description="only the k most likely characters; 0: all")
    top_p: Real = Field(default=1.0, ge=0, le=1, description="only the fewest characters that together have this probability")
    seed: Seed | None = None
    stop: Stop = Field(default=None, description="the text ends before this; or one of at most four")
    stream: bool = Field(default=False, description="server-sent events instead of one JSON answer")


class TokenUsage(BaseModel):
    prompt_tokens: int
    completion_tokens: int  # those of a stop string included


class TextGenerationAnswer(BaseModel):
    model: ModelRef
    text: str
    finish_reason: Literal["stop", "length"]
    usage: TokenUsage
    notice: str | None
    timing_ms: dict[str, float]


class StreamOptions(JsonFields):
    include_usage: bool = False
    include_obfuscation: Literal[False] = Field(default=False, description="padding against eavesdroppers: not available")


class CompletionRequest(JsonFields):
    """OpenAI's fields with OpenAI's ranges and defaults, then three of other servers."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"model": "anna", "prompt": "Happy families ", "max_tokens": 100, "temperature": 0.7, "seed": 1},
        },
    )

    model: str = Field(description="name of a served model")
    prompt: Prompt = Field(description="a text, several, or the same as token ids")
    max_tokens: Whole = Field(default=16, ge=0, description="0 only with echo: the prompt is scored")
    temperature: Real = Field(default=1.0, ge=0, le=2)
    top_p: Real = Field(default=1.0, ge=0, le=1)
    n: Whole = Field(default=1, ge=1, le=128, description="texts a prompt")
    best_of: Whole | None = Field(default=None, ge=1, le=128, description="write so many, return the n likeliest; not with stream")
    stream: bool = False
    stream_options: StreamOptions | None = None
    logprobs: Whole | None = Field(
        default=None, ge=0, le=5, description="log-probabilities, in nats, of the tokens and so many of the likeliest"
    )
    echo: bool = Field(default=False, description="the prompt stands before the text")
    stop: Stop = None
    seed: Seed | None = None
    presence_penalty: Real = Field(default=0.0, ge=-2, le=2)
    frequency_penalty: Real = Field(default=0.0, ge=-2, le=2)
    logit_bias: dict[str, Annotated[Real, Field(ge=-100, le=100)]] = Field(default={}, description="by token id")
    user: str | None = Field(default=None, description="accepted, not used and not logged")
    suffix: str | None = Field(default=None, description="refused: the models do not fill in")
    top_k: Whole = Field(default=0, ge=-1, description="only the k likeliest tokens; 0 or -1: all")
    min_p: Real = Field(default=0.0, ge=0, le=1, description="only tokens with this share of the likeliest one's probability")
    repetition_penalty: Real = Field(default=1.0, gt=0, le=10)

    def sampling(self, choice: int, logit_bias: dict[int, float]) -> SamplingOptions:
        """The options of one of the texts for a prompt."""
        return SamplingOptions(
            temperature=self.temperature,
            top_k=max(0, self.top_k),
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            logit_bias=logit_bias,
            seed=self.seed,
            choice=choice,
        )


class CompletionLogprobs(BaseModel):
    """One entry a token in each list."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]  # characters from the beginning of the choice's text


class CompletionChoice(BaseModel):
    index: int  # number of the prompt * n + number of the text
    text: str
    logprobs: CompletionLogprobs | None
    finish_reason: Literal["stop", "length"]


class CompletionUsage(TokenUsage):
    total_tokens: int


class CompletionAnswer(BaseModel):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int  # Unix seconds
    model: str
    choices: list[CompletionChoice]
    usage: CompletionUsage


class OpenAIErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """What every answer of `/v1/completions` that is not a success looks like."""

    error: OpenAIErrorDetail


def stop_strings(stop: JsonValue) -> list[str]:
    """A stop or a list of them. Raises InvalidOption."""
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(each, str) for each in stops):
        raise InvalidOption("stop must be a string or a list of strings", param="stop")
    if len(stops) > MAX_STOPS:
        raise InvalidOption(f"stop takes at most {MAX_STOPS} strings", param="stop")
    if not all(0 < len(str(each)) <= MAX_STOP_CHARS for each in stops):
        raise InvalidOption(f"a stop string has 1 to {MAX_STOP_CHARS} characters", param="stop")
    return [str(each) for each in stops]
