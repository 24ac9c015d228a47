"""Error bodies of PixelDojo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from orchestrator.errors import (
    Gone,
    InsufficientBalance,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    RateLimited,
    ServiceError,
    ServiceUnavailable,
)
from orchestrator.web.http.response_model import ResponseModel


@dataclass(frozen=True, slots=True)
class DocumentedError:
    """A row of the document's table of errors."""

    code: str
    status: int


#: The row of an error, by the first class that it is an instance of.
ERRORS_BY_CLASS: Mapping[type[ServiceError], DocumentedError] = {
    NotAuthenticated: DocumentedError("unauthorized", 401),
    InvalidRequest: DocumentedError("validation_error", 400),
    NotFound: DocumentedError("not_found", 404),
    InsufficientBalance: DocumentedError("insufficient_credits", 402),
    ServiceUnavailable: DocumentedError("submission_failed", 500),
    Gone: DocumentedError("expired", 410),
    RateLimited: DocumentedError("rate_limit_exceeded", 429),
}
#: The row of an error by its code; checked before the class.
ERRORS_BY_CODE: Mapping[str, DocumentedError] = {
    "invalid_json": DocumentedError("invalid_json", 400),
    "model_not_found": DocumentedError("not_found", 404),
    "internal_error": DocumentedError("internal_error", 500),
}


class PixelDojoErrorDetails(ResponseModel):
    """What went wrong. Some errors carry further fields, for example `creditCost` and `creditsRemaining`."""

    code: str = Field(
        description="Machine-readable code, for example `validation_error`.", examples=["validation_error"]
    )
    message: str = Field(description="Explanation for a person.", examples=["`prompt` is required"])
    type: str = Field(
        description="Kind of error, for example `invalid_request`.", examples=["invalid_request"]
    )
    param: str | None = Field(description="Name of the request field at fault.", examples=["prompt"])


class PixelDojoErrorResponse(ResponseModel):
    """Body of every response with a status of 400 or more."""

    error: PixelDojoErrorDetails = Field(description="What went wrong.")


def to_reading_error_response(error: ServiceError) -> tuple[int, PixelDojoErrorResponse]:
    """Return status and body of an error of a request that submits nothing."""
    if isinstance(error, ServiceUnavailable):
        return _build_response(error, DocumentedError(error.code, error.status))
    return to_error_response(error)


def to_error_response(error: ServiceError) -> tuple[int, PixelDojoErrorResponse]:
    """Return status and body of an error. Errors that the document does not list keep code and status."""
    by_class = (row for kind, row in ERRORS_BY_CLASS.items() if isinstance(error, kind))
    row = ERRORS_BY_CODE.get(error.code) or next(by_class, DocumentedError(error.code, error.status))
    return _build_response(error, row)


def _build_response(error: ServiceError, row: DocumentedError) -> tuple[int, PixelDojoErrorResponse]:
    # Amounts of this dialect are in credits; see `credits.in_credits`.
    further = {name: value for name, value in error.details.items() if not name.endswith("_usd")}
    details = PixelDojoErrorDetails(
        code=row.code, message=error.message, type=error.type, param=error.param, **further
    )
    return row.status, PixelDojoErrorResponse(error=details)
