"""Response bodies of Pixazo's gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.web.http.response_model import ResponseModel

PixazoRequestStatus = Literal["QUEUED", "PROCESSING", "COMPLETED", "FAILED", "ERROR"]
PixazoBatchStatus = Literal["queued", "processing", "completed", "failed"]

_EXAMPLE_UUID = "3f2a9c0d-5b7e-4f1a-8c6d-2e9b0a4f7c31"


class PixazoQueuedResponse(ResponseModel):
    """An accepted request."""

    request_id: str = Field(description="Id of the request.", examples=[f"flux-dev_{_EXAMPLE_UUID}"])
    status: PixazoRequestStatus = Field(description="State of the request.", examples=["QUEUED"])
    polling_url: str = Field(
        description="URL to poll for the result.",
        examples=[f"https://api.example.com/v2/requests/status/flux-dev_{_EXAMPLE_UUID}"],
    )


class PixazoOutput(ResponseModel):
    """The results of a request."""

    media_url: list[str] = Field(
        description="URLs of the files, valid for 24 hours.",
        examples=[["https://storage.example.com/outputs/3f/3f2a.png?X-Amz-Signature=..."]],
    )
    media_type: str = Field(description="Media type of the files.", examples=["image/png"])


class PixazoStatusResponse(ResponseModel):
    """State of a request; a webhook receives the same."""

    request_id: str = Field(description="Id of the request.", examples=[f"flux-dev_{_EXAMPLE_UUID}"])
    status: PixazoRequestStatus = Field(
        description="State of the request; FAILED if the request caused the failure, ERROR if the service did"
        " (both are final).",
        examples=["COMPLETED"],
    )
    model_id: str = Field(description="The gateway's name of the model.", examples=["flux-dev"])
    error: str | None = Field(description="Why the request failed.", examples=[None])
    output: PixazoOutput | None = Field(description="The results of a completed request.")
    created_at: str = Field(
        description="Time of creation, for example `2026-03-31T10:00:15.000Z`.",
        examples=["2026-03-31T10:00:00.000Z"],
    )
    updated_at: str = Field(
        description="Time of the latest change of state.", examples=["2026-03-31T10:00:15.000Z"]
    )
    completed_at: str | None = Field(
        description="Time at which the request finished.", examples=["2026-03-31T10:00:15.000Z"]
    )


class PixazoResultResponse(ResponseModel):
    """The result itself."""

    output: str = Field(
        description="URL of the image, valid for 24 hours.",
        examples=["https://storage.example.com/outputs/3f/3f2a.png?X-Amz-Signature=..."],
    )


class PixazoBatchQueuedResponse(ResponseModel):
    """An accepted request of a batch."""

    requestId: str = Field(description="Id of the request.", examples=[_EXAMPLE_UUID])
    status: PixazoBatchStatus = Field(description="State of the request.", examples=["queued"])
    message: str = Field(
        description="How the result is delivered.", examples=["Request queued. It is still being processed."]
    )
    pollingEndpoint: str = Field(description="Path to poll for the result.", examples=["/checkStatus"])
    pollingInstructions: str = Field(
        description="How to poll for the result.",
        examples=[f'POST to /checkStatus with {{"requestId": "{_EXAMPLE_UUID}"}}'],
    )


class PixazoBatchStatusResponse(ResponseModel):
    """State of a request of a batch; a webhook receives the same."""

    requestId: str = Field(description="Id of the request.", examples=[_EXAMPLE_UUID])
    status: PixazoBatchStatus = Field(description="State of the request.", examples=["completed"])
    output: str | None = Field(
        None,
        description="URL of the image, valid for 24 hours.",
        examples=["https://storage.example.com/outputs/3f/3f2a.png?X-Amz-Signature=..."],
    )
    error: str | None = Field(None, description="Why the request failed.", examples=[None])
    completedAt: int | None = Field(
        None,
        description="Time at which the request finished, in milliseconds since 1970.",
        examples=[1774951215000],
    )
