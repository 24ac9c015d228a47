"""Pixazo's answers as models, for documents and for tests."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.web.dialects.openai.schemas import ResponseModel

PixazoRequestStatus = Literal["QUEUED", "PROCESSING", "COMPLETED", "FAILED", "ERROR"]
PixazoBatchStatus = Literal["queued", "processing", "completed", "failed"]


class PixazoQueuedResponse(ResponseModel):
    """An accepted request."""

    request_id: str
    status: PixazoRequestStatus
    polling_url: str


class PixazoOutput(ResponseModel):
    """What a request made."""

    media_url: list[str] = Field(description="Work for a day.")
    media_type: str


class PixazoStatusResponse(ResponseModel):
    """What became of a request; a webhook is sent the same."""

    request_id: str
    status: PixazoRequestStatus = Field(description="FAILED lay with the request, ERROR with the service.")
    model_id: str
    error: str | None
    output: PixazoOutput | None
    created_at: str
    updated_at: str
    completed_at: str | None


class PixazoResultResponse(ResponseModel):
    """The result itself."""

    output: str = Field(description="Address of the picture; works for a day.")


class PixazoBatchQueuedResponse(ResponseModel):
    """An accepted request of a batch."""

    requestId: str
    status: PixazoBatchStatus
    message: str
    pollingEndpoint: str
    pollingInstructions: str


class PixazoBatchStatusResponse(ResponseModel):
    """What became of a request of a batch; a webhook is sent the same."""

    requestId: str
    status: PixazoBatchStatus
    output: str | None = Field(None, description="Address of the picture; works for a day.")
    error: str | None = None
    completedAt: int | None = Field(None, description="Milliseconds since 1970.")
