"""Response bodies of Pixazo's gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.web.http.response_model import ResponseModel

PixazoRequestStatus = Literal["QUEUED", "PROCESSING", "COMPLETED", "FAILED", "ERROR"]
PixazoBatchStatus = Literal["queued", "processing", "completed", "failed"]


class PixazoQueuedResponse(ResponseModel):
    """An accepted request."""

    request_id: str = Field(description="Id of the request.")
    status: PixazoRequestStatus = Field(description="State of the request.")
    polling_url: str = Field(description="URL to poll for the result.")


class PixazoOutput(ResponseModel):
    """The results of a request."""

    media_url: list[str] = Field(description="URLs of the files, valid for 24 hours.")
    media_type: str = Field(description="Media type of the files.")


class PixazoStatusResponse(ResponseModel):
    """State of a request; a webhook receives the same."""

    request_id: str = Field(description="Id of the request.")
    status: PixazoRequestStatus = Field(
        description="State of the request; FAILED if the request caused the failure, ERROR if the service did"
        " (both are final)."
    )
    model_id: str = Field(description="The gateway's name of the model.")
    error: str | None = Field(description="Why the request failed.")
    output: PixazoOutput | None = Field(description="The results of a completed request.")
    created_at: str = Field(description="Time of creation, for example `2026-03-31T10:00:15.000Z`.")
    updated_at: str = Field(description="Time of the latest change of state.")
    completed_at: str | None = Field(description="Time at which the request finished.")


class PixazoResultResponse(ResponseModel):
    """The result itself."""

    output: str = Field(description="URL of the image, valid for 24 hours.")


class PixazoBatchQueuedResponse(ResponseModel):
    """An accepted request of a batch."""

    requestId: str = Field(description="Id of the request.")
    status: PixazoBatchStatus = Field(description="State of the request.")
    message: str = Field(description="How the result is delivered.")
    pollingEndpoint: str = Field(description="Path to poll for the result.")
    pollingInstructions: str = Field(description="How to poll for the result.")


class PixazoBatchStatusResponse(ResponseModel):
    """State of a request of a batch; a webhook receives the same."""

    requestId: str = Field(description="Id of the request.")
    status: PixazoBatchStatus = Field(description="State of the request.")
    output: str | None = Field(None, description="URL of the image, valid for 24 hours.")
    error: str | None = Field(None, description="Why the request failed.")
    completedAt: int | None = Field(
        None, description="Time at which the request finished, in milliseconds since 1970."
    )
