"""`POST /v1/image-classification/{model}` and its ROC curve."""

from __future__ import annotations

from typing import cast

import numpy as np
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.bodies import describe_image, read_image
from app.api.dependencies import Headers, describe_fields, describe_model, get_deadline, get_model, get_options, join_options, query_options
from app.api.disconnect import unless_disconnected
from app.api.error_handlers import ERROR_RESPONSES
from app.api.models import model_ref
from app.api.validation import validate
from app.contract.classification import OperatingPoint, Target
from app.contract.manifest import ModelManifest
from app.errors import InvalidOption
from app.runtime.served_model import Prediction, ServedModel
from app.tasks.image_classification.pipeline import Classification, ImageClassificationPipeline
from app.tasks.image_classification.schemas import (
    ClassificationAnswer,
    ClassificationOptions,
    DecisionAnswer,
    LabelProbability,
    RocAnswer,
    RocOptions,
    example_image,
)

TASK = ImageClassificationPipeline.task

router = APIRouter(prefix=f"/v1/{TASK}", tags=[TASK])

PARAMETERS = [*describe_model("skin-lesion"), *describe_fields("query", ClassificationOptions), *describe_fields("header", Headers)]


@router.post(
    "/{model}",
    summary="Classify a picture",
    response_model=ClassificationAnswer,
    responses=ERROR_RESPONSES,
    openapi_extra={"parameters": PARAMETERS, "requestBody": describe_image(example_image())},
)
async def classify_image(request: Request) -> Response:
    """Calibrated probabilities of all labels, and the decision for one target at a threshold of your choice.

    Send the picture as a raw `image/*` body (fastest), as the multipart field `image`, or as base64 in JSON.
    Options go into the query; a form or a JSON body may carry them as well.
    """
    model, query, deadline = get_model(request, TASK, ServedModel), query_options(request), get_deadline(request)
    options = validate(ClassificationOptions, query)
    body = await read_image(request)
    if body.options:
        options = validate(ClassificationOptions, join_options(query, body.options))
    prediction = await unless_disconnected(request, model.predict([body.data], options, deadline))
    answer = _answer(model.manifest, prediction, options)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.get(
    "/{model}/roc",
    summary="The ROC curve behind the thresholds",
    response_model=RocAnswer,
    responses={status: ERROR_RESPONSES[status] for status in (404, 422, 503)},
    openapi_extra={"parameters": [*describe_model("skin-lesion"), *describe_fields("query", RocOptions)]},
)
async def get_roc(request: Request) -> Response:
    """Sensitivity and specificity over the threshold, on the test split, with 95 % intervals and the named operating points."""
    model, options = get_model(request, TASK, ServedModel), get_options(request, RocOptions)
    chosen = cast(ImageClassificationPipeline, model.pipeline).target(options.target)
    if chosen is None:
        raise InvalidOption(f"the model {model.name!r} has no targets, so no ROC curve", param="target")
    measurement = chosen.augmented if options.augment else chosen
    if measurement is None:
        raise InvalidOption(f"{chosen.name} was not measured with augment=true", param="augment")
    answer = RocAnswer(
        model=model_ref(model.manifest),
        target=chosen.name,
        title=chosen.title,
        labels=list(chosen.labels),
        roc=measurement.roc,
        operating_points=_operating_points(chosen, options.augment),
        default_operating_point=chosen.default_operating_point,
        measured_on=measurement.measured_on,
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _operating_points(target: Target, augment: bool) -> list[OperatingPoint]:
    """The named thresholds with the rates of one view, or of the mean of eight."""
    if not augment or target.augmented is None:
        return list(target.operating_points)
    rates = [(point, *target.augmented.at(point.threshold)) for point in target.operating_points]
    return [point.model_copy(update={"sensitivity": first, "specificity": second}) for point, first, second in rates]


def _answer(manifest: ModelManifest, prediction: Prediction, options: ClassificationOptions) -> ClassificationAnswer:
    classification: Classification = prediction.answers[0]
    order = np.argsort(-classification.probabilities, kind="stable")[: options.top_k]
    predictions = [
        LabelProbability(
            label=manifest.labels[index].name,
            title=manifest.labels[index].title,
            probability=float(classification.probabilities[index]),
        )
        for index in order
    ]
    return ClassificationAnswer(
        model=model_ref(manifest),
        predictions=predictions,
        decision=_decision(classification),
        notice=manifest.notice,
        timing_ms=prediction.timing_ms,
    )


def _decision(classification: Classification) -> DecisionAnswer | None:
    target, decision = classification.target, classification.decision
    if target is None or decision is None:
        return None
    return DecisionAnswer(
        target=target.name,
        probability=decision.probability,
        threshold=decision.threshold,
        operating_point=decision.operating_point,
        positive=decision.positive,
        sensitivity=decision.sensitivity,
        specificity=decision.specificity,
        measured_on=decision.measured_on,
    )
