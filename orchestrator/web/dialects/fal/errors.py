"""Error bodies of fal's API, which are FastAPI's."""

from __future__ import annotations

from pydantic import Field

from orchestrator.errors import (
    ContentBlocked,
    InsufficientBalance,
    InvalidRequest,
    NotAuthenticated,
    ServiceError,
)
from orchestrator.intake.field_names import split_item
from orchestrator.web.http.response_model import ResponseModel

#: Codes of errors that are about the whole request.
_BODY_ERRORS = frozenset({"invalid_json", "invalid_body", "payload_too_large"})
#: Fields of the address and of the headers.
_QUERY_FIELDS = frozenset({"fal_webhook", "logs"})
STILL_RUNNING = "Request is still in progress"
LOCKED = "User is locked. Reason: Exhausted balance."


class StartTimeout(ServiceError):
    """The request has not started within the time that its caller allows."""

    status = 504
    type = "request_timeout"
    default_code = "request_timeout"


class StillInProgress(ServiceError):
    """The result was asked for before it is there."""

    status = 400
    type = "invalid_request"
    default_code = "in_progress"


class FalErrorLocation(ResponseModel):
    """A field that is not valid."""

    loc: list[str | int] = Field(
        description="Path of the field, with the index in a list.", examples=[["body", "prompt"]]
    )
    msg: str = Field(description="Explanation for a person.", examples=["`prompt` is required"])
    type: str = Field(description="Machine-readable code.", examples=["missing_prompt"])


class FalErrorResponse(ResponseModel):
    """Body of every response with a status of 400 or more."""

    detail: str | list[FalErrorLocation] = Field(
        description="What went wrong: a sentence, or the fields at fault (422).",
        examples=[[{"loc": ["body", "prompt"], "msg": "`prompt` is required", "type": "missing_prompt"}]],
    )
    message: str = Field(description="The same as a sentence.", examples=["`prompt` is required"])
    error_type: str = Field(description="Machine-readable code.", examples=["missing_prompt"])


def to_error_response(error: ServiceError) -> tuple[int, FalErrorResponse]:
    """Return status and body of an error."""
    if isinstance(error, InvalidRequest) and error.code != "model_not_found":
        location = FalErrorLocation(loc=_location(error), msg=error.message, type=error.code)
        return 422, FalErrorResponse(detail=[location], message=error.message, error_type=error.code)
    status, message = error.status, error.message
    if isinstance(error, InsufficientBalance):
        # The API has no 402.
        status, message = 403, f"{LOCKED} {error.message}"
    elif isinstance(error, NotAuthenticated) and error.code == "missing_api_key":
        message = "Missing API key: send it as `Authorization: Key pk-...`"
    elif error.code == "model_not_found":
        status = 404
    return status, FalErrorResponse(detail=message, message=message, error_type=error.code)


def _location(error: InvalidRequest) -> list[str | int]:
    name = error.param or ("prompt" if isinstance(error, ContentBlocked) else "")
    if not name or error.code in _BODY_ERRORS:
        return ["body"]
    if name in _QUERY_FIELDS:
        return ["query", name]
    if name[:2].lower() == "x-" or name == "Idempotency-Key":
        return ["header", name]
    field, index = split_item(name)
    return ["body", field, int(index[1:-1])] if index else ["body", name]
