"""Error bodies of the Pixel Factory and OpenAI APIs."""

from __future__ import annotations

from pydantic import Field

from orchestrator.errors import ServiceError
from orchestrator.web.http.response_model import ResponseModel


class ErrorDetails(ResponseModel):
    """What went wrong. Some errors carry further fields, for example the balance that is missing."""

    message: str = Field(description="Explanation for a person.", examples=["`prompt` is required"])
    type: str = Field(
        description="Kind of error, for example `invalid_request` or `insufficient_balance`.",
        examples=["invalid_request"],
    )
    code: str = Field(
        description="Machine-readable code, for example `missing_prompt`.", examples=["missing_prompt"]
    )
    param: str | None = Field(description="Name of the request field at fault.", examples=["prompt"])


class ErrorResponse(ResponseModel):
    """Body of every response with a status of 400 or more."""

    error: ErrorDetails = Field(description="What went wrong.")


def to_error_response(error: ServiceError) -> tuple[int, ErrorResponse]:
    """Return status and body of an error. OpenAI's SDKs read `param`; callers know width and height as
    `size`.
    """
    code, param = error.code, error.param
    if param in ("width", "height"):
        code, param = "invalid_size", "size"
    details = ErrorDetails(message=error.message, type=error.type, code=code, param=param, **error.details)
    return error.status, ErrorResponse(error=details)
