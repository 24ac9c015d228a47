"""Error bodies of HuggingFace's inference API."""

from __future__ import annotations

from pydantic import Field

from orchestrator.errors import InvalidRequest, ServiceError
from orchestrator.web.http.response_model import ResponseModel

_TOP_LEVEL = frozenset({"inputs", "parameters", "options", "body"})
#: The model changes an image, and the request has only a text.
_MISSING_IMAGE = frozenset({"missing_image", "missing_images"})


class HuggingFaceErrorResponse(ResponseModel):
    """Body of every response with a status of 400 or more."""

    error: str = Field(description="Explanation for a person.", examples=["`inputs` is required"])
    error_type: str = Field(description="Machine-readable code.", examples=["missing_inputs"])
    field: str | None = Field(None, description="Path of the field at fault.", examples=["inputs"])


def to_error_response(error: ServiceError) -> tuple[int, HuggingFaceErrorResponse]:
    """Return status and body of an error."""
    status = 404 if error.code == "model_not_found" else error.status
    if not isinstance(error, InvalidRequest) or not error.param:
        return status, HuggingFaceErrorResponse(error=error.message, error_type=error.code)
    if error.code in _MISSING_IMAGE:
        message = f"{error.message}: send it as `inputs`, and the text as `prompt` in `parameters`"
        return status, HuggingFaceErrorResponse(error=message, error_type=error.code, field="inputs")
    field = error.param if error.param in _TOP_LEVEL else f"parameters.{error.param}"
    return status, HuggingFaceErrorResponse(error=error.message, error_type=error.code, field=field)
