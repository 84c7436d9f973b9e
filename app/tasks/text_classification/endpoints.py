"""`POST /v1/text-classification/{model}`."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.bodies import read_json
from app.api.dependencies import (
    Headers,
    describe_alternatives,
    describe_fields,
    describe_model,
    get_deadline,
    get_model,
    schema_of,
    with_query,
)
from app.api.disconnect import unless_disconnected
from app.api.error_handlers import ERROR_RESPONSES
from app.api.models import model_ref
from app.contract.manifest import ModelManifest
from app.errors import InvalidOption
from app.runtime.served_model import ServedModel
from app.tasks.text_classification.pipeline import TextClassification, TextClassificationPipeline, TextOptions
from app.tasks.text_classification.schemas import (
    Attribution,
    Explanation,
    TextClassificationAnswer,
    TextClassificationRequest,
    TextResult,
)

TASK = TextClassificationPipeline.task
MAX_EXPLAINED_TEXTS = 8  # an explanation costs up to 64 runs

router = APIRouter(prefix=f"/v1/{TASK}", tags=[TASK], responses=ERROR_RESPONSES)

REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": schema_of(TextClassificationRequest)}},
}

PARAMETERS = [
    *describe_model("sentiment"),
    *describe_alternatives(TextClassificationRequest, but=("text",)),
    *describe_fields("header", Headers),
]


@router.post(
    "/{model}",
    summary="Classify texts",
    response_model=TextClassificationAnswer,
    openapi_extra={"parameters": PARAMETERS, "requestBody": REQUEST_BODY},
)
async def classify_text(request: Request) -> Response:
    """The label of each text with its calibrated probability; with `explain`, the words that pushed it there.

    The explanation is by occlusion: each word, or span of words in a long text, is taken out in turn, and its
    contribution is how much the label's probability falls.
    """
    model, deadline = get_model(request, TASK, ServedModel), get_deadline(request)
    body = with_query(request, await read_json(request, TextClassificationRequest))
    texts = [body.text] if isinstance(body.text, str) else body.text
    _check_texts(texts, body.explain, cast(TextClassificationPipeline, model.pipeline))
    prediction = await unless_disconnected(request, model.predict(texts, TextOptions(explain=body.explain), deadline))
    answer = TextClassificationAnswer(
        model=model_ref(model.manifest),
        results=[_result(model.manifest, text, result) for text, result in zip(texts, prediction.answers, strict=True)],
        notice=model.manifest.notice,
        timing_ms=prediction.timing_ms,
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _check_texts(texts: list[str], explain: bool, pipeline: TextClassificationPipeline) -> None:
    if not texts:
        raise InvalidOption("text must not be an empty list", param="text")
    pipeline.check(texts)
    if explain and len(texts) > MAX_EXPLAINED_TEXTS:
        raise InvalidOption(f"explain takes at most {MAX_EXPLAINED_TEXTS} texts a request", param="explain")


def _result(manifest: ModelManifest, text: str, classification: TextClassification) -> TextResult:
    scores = {label.name: float(p) for label, p in zip(manifest.labels, classification.probabilities, strict=True)}
    label = max(scores, key=lambda name: scores[name])
    return TextResult(
        label=label,
        probability=scores[label],
        scores=scores,
        truncated=classification.truncated,
        explanation=_explanation(text, classification),
    )


def _explanation(text: str, classification: TextClassification) -> Explanation | None:
    if classification.contributions is None:
        return None
    attributions = [
        Attribution(text=text[c.start : c.end], start=c.start, end=c.end, contribution=c.contribution) for c in classification.contributions
    ]
    return Explanation(method="occlusion", attributions=attributions)
