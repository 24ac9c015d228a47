"""PixelDojo's answers as models, for documents and for tests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from orchestrator.web.dialects.openai.schemas import ResponseModel

PixelDojoJobStatus = Literal["pending", "processing", "completed", "failed", "cancelled"]


class RunModelResponse(ResponseModel):
    """An accepted run."""

    jobId: str
    status: PixelDojoJobStatus
    statusUrl: str = Field(description="Where to poll.")
    creditCost: float
    creditsRemaining: float


class RunSchemaResponse(ResponseModel):
    """What a run of one model takes."""

    apiId: str
    json_schema: dict[str, Any] = Field(alias="schema", description="A JSON Schema.")


class WebhookDeliveryStatus(ResponseModel):
    """How it stands with telling somebody of a job's end."""

    url: str
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    deliveredAt: str | None
    error: str | None


class OutputAsset(ResponseModel):
    """One result of a job."""

    url: str = Field(description="Works for a day.")
    contentType: str
    width: int | None
    height: int | None
    bytes: int


class JobErrorDetails(ResponseModel):
    """Why a job came to nothing."""

    code: str
    message: str


class JobResponse(ResponseModel):
    """A job, whatever dialect it came in by."""

    jobId: str
    status: PixelDojoJobStatus
    model: str
    output: dict[str, list[str]] = Field(description="URLs by kind: `images`, `videos`, `audio`, `files`.")
    assets: list[OutputAsset] = Field(description="The same with what is known of each.")
    params: dict[str, Any]
    shards: dict[str, int]
    creditCost: float
    costUsd: float
    costCents: float
    simulated: bool
    error: JobErrorDetails | None
    createdAt: str
    startedAt: str | None
    finishedAt: str | None
    expiresAt: str | None = Field(description="When the job and its files are gone.")
    webhook: dict[str, Any] | None = Field(
        description="How it stands with telling `webhook_url`; of one job with the `history` of all tries."
    )


class JobListResponse(ResponseModel):
    """Some jobs, newest first."""

    jobs: list[JobResponse]
    nextCursor: str | None


class WebhookReplayResponse(ResponseModel):
    """A webhook that is sent once more."""

    jobId: str
    webhook: WebhookDeliveryStatus
