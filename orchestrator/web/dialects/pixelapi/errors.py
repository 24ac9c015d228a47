"""Error bodies of PixelAPI."""

from __future__ import annotations

from pydantic import Field

from orchestrator.errors import Gone, InvalidRequest, ServiceError
from orchestrator.web.http.response_model import ResponseModel


class PixelApiErrorResponse(ResponseModel):
    """Body of every response with a status of 400 or more."""

    detail: str = Field(
        description="Explanation for a person.", examples=["`width` must be between 512 and 1536 (got 256)"]
    )


def to_error_response(error: ServiceError) -> tuple[int, PixelApiErrorResponse]:
    """Return status and body of an error.

    The API knows 422 for invalid requests, no 410 (expired outputs are not found) and no status above 500.
    """
    status = 422 if isinstance(error, InvalidRequest) else 404 if isinstance(error, Gone) else error.status
    return min(status, 500), PixelApiErrorResponse(detail=error.message)
