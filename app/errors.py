"""What can go wrong while serving. A class knows its HTTP status and its type; the message is our own words.

ServingError 500
|- BadRequest 400             malformed body, base64 or JSON
|  |- UndecodableImage        bytes that are not a whole picture
|- Unauthorized 401           the admin key is needed
|  `- InvalidApiKey           an API key is
|- Forbidden 403              switched off; says how it is switched on
|- ModelNotFound 404          names those that exist
|- NotAcceptable 406          lists the forms that the answer may have
|- InputTooLarge 413          bytes, pixels, characters, items
|- UnsupportedMediaType 415   lists what is accepted
|- InvalidOption 422          a field out of range; `param` says which
|- QueueFull 429              with an honest Retry-After
|  `- UploadsFull             too many bytes of bodies are on their way
|- RateLimited 429            the same, of one client
|- ModelNotReady 503          loading or draining
|- RunStuck 503               a run that took too long was given up
`- DeadlineExceeded 504

Two stand apart. ModelRejected: a model folder that cannot be served; it is met at load, never by a client.
ClientLeft: nobody hears of it any longer.
"""

from __future__ import annotations

from collections.abc import Iterable


class ClientLeft(Exception):
    """Whoever asked has hung up: no answer, and nobody's failure."""


class ServingError(Exception):
    """Something failed while a request was served; the client sees `message`, never a traceback."""

    status = 500
    type = "internal_error"
    counted = False  # in the metrics, by the model that raised it

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class BadRequest(ServingError):
    status = 400
    type = "bad_request"


class UndecodableImage(BadRequest):
    type = "undecodable_image"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the image cannot be decoded: {reason}", param="image")


class Unauthorized(ServingError):
    status = 401
    type = "unauthorized"


class InvalidApiKey(Unauthorized):
    type = "invalid_api_key"


class Forbidden(ServingError):
    status = 403
    type = "forbidden"


class ModelNotFound(ServingError):
    status = 404
    type = "model_not_found"

    def __init__(self, name: str, available: Iterable[str], task: str | None = None) -> None:
        names = ", ".join(available) or "none"
        scope = f" for {task}" if task else ""
        super().__init__(f"there is no model {name[:64]!r}{scope}; available: {names}", param="model")


class NotAcceptable(ServingError):
    status = 406
    type = "not_acceptable"


class InputTooLarge(ServingError):
    status = 413
    type = "input_too_large"


class UnsupportedMediaType(ServingError):
    status = 415
    type = "unsupported_media_type"


class InvalidOption(ServingError):
    status = 422
    type = "invalid_option"


class QueueFull(ServingError):
    status = 429
    type = "queue_full"

    def __init__(self, model: str, retry_after_s: int) -> None:
        super().__init__(f"the queue of {model!r} is full; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class UploadsFull(QueueFull):
    def __init__(self, retry_after_s: int) -> None:
        ServingError.__init__(self, f"too many large requests are being received; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class RateLimited(ServingError):
    status = 429
    type = "rate_limit_exceeded"

    def __init__(self, per_minute: int, retry_after_s: int) -> None:
        super().__init__(f"more than {per_minute:,} requests a minute; try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class ModelNotReady(ServingError):
    status = 503
    type = "model_not_ready"


class RunStuck(ServingError):
    status = 503
    type = "run_stuck"

    def __init__(self, after_s: float) -> None:
        super().__init__(f"a run took longer than {after_s:g} s and was given up")


class DeadlineExceeded(ServingError):
    status = 504
    type = "deadline_exceeded"

    def __init__(self) -> None:
        super().__init__("the deadline passed before the answer was ready; the work was dropped")


class ModelRejected(Exception):
    """A model folder that cannot be served; the message says what is wrong and what to do."""
