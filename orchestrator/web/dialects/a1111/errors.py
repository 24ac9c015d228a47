"""Error bodies of the web UI's API, which are FastAPI's."""

from __future__ import annotations

from pydantic import Field

from orchestrator.errors import InvalidRequest, ServiceError
from orchestrator.web.http.response_model import ResponseModel


class A1111ErrorLocation(ResponseModel):
    """A field that is not valid."""

    loc: list[str] = Field(description="Path of the field.", examples=[["body", "steps"]])
    msg: str = Field(description="Explanation for a person.", examples=["`steps` must be at least 1 (got 0)"])
    type: str = Field(description="Machine-readable code.", examples=["invalid_steps"])


class A1111ErrorResponse(ResponseModel):
    """Body of every response with a status of 400 or more."""

    error: str = Field(description="Kind of error.", examples=["invalid_request"])
    detail: str | list[A1111ErrorLocation] = Field(
        description="What went wrong: a sentence, or the fields at fault (422).",
        examples=[[{"loc": ["body", "steps"], "msg": "`steps` must be at least 1", "type": "invalid_steps"}]],
    )
    body: str = Field(description="Always empty.", examples=[""])
    errors: str = Field(description="The same as a sentence.", examples=["`steps` must be at least 1"])


def to_error_response(error: ServiceError) -> tuple[int, A1111ErrorResponse]:
    """Return status and body of an error."""
    if isinstance(error, InvalidRequest):
        loc = ["body", error.param] if error.param else ["body"]
        location = A1111ErrorLocation(loc=loc, msg=error.message, type=error.code)
        return 422, A1111ErrorResponse(error=error.type, detail=[location], body="", errors=error.message)
    return error.status, A1111ErrorResponse(
        error=error.type, detail=error.message, body="", errors=error.message
    )
