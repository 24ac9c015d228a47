"""Error bodies of Replicate's API: problem details."""

from __future__ import annotations

from http import HTTPStatus

from pydantic import Field

from orchestrator.errors import InsufficientBalance, InvalidRequest, NotAuthenticated, ServiceError
from orchestrator.web.http.response_model import ResponseModel

#: Fields of a request beside its `input`, and its headers.
TOP_LEVEL_FIELDS = frozenset(
    {"input", "version", "webhook", "webhook_completed", "webhook_events_filter", "stream", "body"}
    | {"Prefer", "Cancel-After", "Idempotency-Key", "cursor", "content", "metadata", "filename", "type"}
)


class InvalidField(ResponseModel):
    """A field that is not valid."""

    type: str = Field(description="Machine-readable code.", examples=["missing_prompt"])
    field: str = Field(description="Path of the field.", examples=["input.prompt"])
    description: str = Field(description="Explanation for a person.", examples=["`prompt` is required"])


class ReplicateErrorResponse(ResponseModel):
    """Body of every response with a status of 400 or more."""

    title: str = Field(description="Kind of error.", examples=["Input validation failed"])
    detail: str = Field(
        description="Explanation for a person.", examples=["- input.prompt: `prompt` is required"]
    )
    status: int = Field(description="Status of the response.", examples=[422])
    code: str = Field(description="Machine-readable code.", examples=["missing_prompt"])
    invalid_fields: list[InvalidField] | None = Field(
        None, description="The fields at fault; absent for other errors.", examples=[None]
    )


def to_error_response(error: ServiceError) -> tuple[int, ReplicateErrorResponse]:
    """Return status and body of an error. The API knows 422 for invalid requests."""
    if isinstance(error, InvalidRequest) and error.param and error.code != "model_not_found":
        field = error.param if error.param in TOP_LEVEL_FIELDS else f"input.{error.param}"
        invalid = InvalidField(type=error.code, field=field, description=error.message)
        return 422, ReplicateErrorResponse(
            title="Input validation failed",
            detail=f"- {field}: {error.message}\n",
            status=422,
            code=error.code,
            invalid_fields=[invalid],
        )
    status = 404 if error.code == "model_not_found" else error.status
    return status, ReplicateErrorResponse(
        title=_title(error, status), detail=error.message, status=status, code=error.code
    )


def _title(error: ServiceError, status: int) -> str:
    if isinstance(error, NotAuthenticated):
        return "Unauthenticated"
    if isinstance(error, InsufficientBalance):
        return "Insufficient credit"
    return HTTPStatus(status).phrase
