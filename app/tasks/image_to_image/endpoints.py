"""`POST /v1/image-to-image/{model}`."""

from __future__ import annotations

import base64
import json
from typing import cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from app.api.accept import preferred
from app.api.bodies import describe_image, read_image
from app.api.dependencies import Headers, describe_fields, describe_model, get_deadline, get_model, join_options, query_options
from app.api.disconnect import unless_disconnected
from app.api.error_handlers import ERROR_RESPONSES, ErrorAnswer
from app.api.models import model_ref
from app.contract.manifest import ModelManifest
from app.runtime.served_model import Prediction, ServedModel
from app.tasks.image_to_image.pipeline import ImageToImagePipeline, Picture
from app.tasks.image_to_image.schemas import ANSWER, CHOICES, FORMS, JSON, Order, PictureAnswer, PictureOptions, example_image

TASK = ImageToImagePipeline.task
NOT_ACCEPTABLE = {"model": ErrorAnswer, "description": "`Accept` allows none of the forms that the answer may have"}

router = APIRouter(prefix=f"/v1/{TASK}", tags=[TASK], responses={**ERROR_RESPONSES, 406: NOT_ACCEPTABLE})

PARAMETERS = [
    *describe_model("style-transfer"),
    *CHOICES,
    *describe_fields("query", PictureOptions),
    *describe_fields("header", Headers),
]


@router.post(
    "/{model}",
    summary="Draw a picture anew",
    response_class=Response,
    responses={200: ANSWER},
    openapi_extra={"parameters": PARAMETERS, "requestBody": describe_image(example_image())},
)
async def redraw_image(request: Request) -> Response:
    """The photograph in another style, or with what the model puts in the place of something: as PNG, JPEG, WebP or JSON, by `Accept`.

    Send the picture as a raw `image/*` body (fastest), as the multipart field `image`, or as base64 in JSON. Options go
    into the query; a form or a JSON body may carry them as well. Which choices there are stands in the model's card,
    `condition`.

    The answer is as large as the picture, but for one whose longer side is above the model's `max_side_px` (its card
    says it, 1024 as a rule): that is shrunk to it. The picture is turned upright by its EXIF orientation, its colours
    become sRGB by its ICC profile, and what is transparent is laid over white.
    """
    model, deadline = get_model(request, TASK, ServedModel), get_deadline(request)
    form, pipeline = preferred(request, FORMS), cast(ImageToImagePipeline, model.pipeline)
    query = query_options(request)
    order = pipeline.order(query, form)
    body = await read_image(request)
    if body.options:
        order = pipeline.order(join_options(query, body.options), form)
    prediction = await unless_disconnected(request, model.predict([body.data], order, deadline))
    return _answer(model.manifest, prediction, order)


def _answer(manifest: ModelManifest, prediction: Prediction, order: Order) -> Response:
    picture: Picture = prediction.answers[0]
    headers = {
        "Vary": "Accept",
        "X-Model": f"{manifest.name}/{manifest.version}",
        "X-Options": json.dumps(order.understood, separators=(",", ":")),
        "X-Image-Size": f"{picture.width}x{picture.height}",
        "Server-Timing": ", ".join(f"{stage};dur={milliseconds}" for stage, milliseconds in prediction.timing_ms.items()),
    }
    if order.form != JSON:
        return Response(picture.data, headers=headers, media_type=picture.media_type)
    answer = PictureAnswer(
        model=model_ref(manifest),
        image=base64.b64encode(picture.data).decode(),
        media_type=picture.media_type,
        width=picture.width,
        height=picture.height,
        options=order.understood,
        notice=manifest.notice,
        timing_ms=prediction.timing_ms,
    )
    return Response(answer.model_dump_json(), headers=headers, media_type=JSON)
