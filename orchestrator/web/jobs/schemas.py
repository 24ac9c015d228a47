"""Bodies of the jobs API (`/api/v1/jobs`), and the functions that build them from jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

from aiohttp import web
from pydantic import Field

from orchestrator.billing.charging import BATCH_PARAM, MINIMUM_PARAM
from orchestrator.catalog.manifest import TRANSPARENT_PARAM
from orchestrator.jobs import MODEL_VERSION_PARAM, Job, JobRecord, JobStatus, Output, ShardStatus
from orchestrator.jobs.loras import LORA_OBJECTS_PARAM
from orchestrator.jobs.objects import INPUT_PREFIX, is_job_object
from orchestrator.jobs.options import OPTIONS_PARAM
from orchestrator.jobs.traces import TRACE_PARAM
from orchestrator.store import DeliveryAttempt, WebhookMessage
from orchestrator.web.dialects.credits import charged_micros, format_utc, to_credits, to_json_number
from orchestrator.web.http.response_model import IsoDatetime, JsonNumber, ResponseModel
from orchestrator.web.jobs.job_updates import QueuePosition
from orchestrator.web.jobs.output_urls import OutputDelivery
from orchestrator.web.video_length import video_length
from pricing.money import to_cents, to_usd

JobStatusName = Literal["pending", "processing", "completed", "failed", "cancelled"]
#: Job statuses as callers see them.
JOB_STATUS_NAMES: dict[JobStatus, JobStatusName] = {
    JobStatus.QUEUED: "pending",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}
_OUTPUT_GROUPS = {"image": "images", "video": "videos", "audio": "audio"}
#: Parameters of jobs that the service adds to those of the request.
_HIDDEN_PARAMS = frozenset(
    {
        BATCH_PARAM,
        LORA_OBJECTS_PARAM,
        MINIMUM_PARAM,
        MODEL_VERSION_PARAM,
        OPTIONS_PARAM,
        TRACE_PARAM,
        TRANSPARENT_PARAM,
    }
)
_EXAMPLE_URL = "https://api.example.com/results/job_3f2a.../1767225600/9c4e.../outputs/3f/3f2a.png"
_EXAMPLE_JOB_ID = "job_3f2a9c0d5b7e4f1a8c6d2e9b0a4f7c31"


class OutputAsset(ResponseModel):
    """One result of a job."""

    url: str = Field(description="URL of the file; it needs no API key and expires.", examples=[_EXAMPLE_URL])
    contentType: str = Field(description="Content type of the file.", examples=["image/png"])
    width: int | None = Field(description="Width in pixels; null for audio.", examples=[1024])
    height: int | None = Field(description="Height in pixels; null for audio.", examples=[1024])
    bytes: int = Field(description="Size of the file in bytes.", examples=[1482913])
    frames: int | None = Field(None, description="Number of frames of a video.", examples=[81])
    fps: JsonNumber | None = Field(None, description="Frames per second of a video.", examples=[16])
    seconds: JsonNumber | None = Field(None, description="Length of a video in seconds.", examples=[5.0625])


class JobErrorDetails(ResponseModel):
    """Why a job failed."""

    code: str = Field(
        description="Machine-readable code, for example `out_of_memory`.", examples=["node_failed"]
    )
    message: str = Field(description="Explanation for a person.", examples=["A step of the model failed."])


class ShardCounts(ResponseModel):
    """Progress of a job by shards; each result of a job is one shard."""

    total: int = Field(description="Number of shards.", examples=[1])
    done: int = Field(description="Number of shards that have finished.", examples=[1])
    cancelled: int = Field(0, description="Number of shards that were cancelled.", examples=[0])


class QueuePositionResponse(ResponseModel):
    """Position of an unfinished job in the queue."""

    position: int | None = Field(
        description="1 for the next job to start; null if all of its shards are running.", examples=[1]
    )
    estimatedFinish: IsoDatetime | None = Field(
        description="When the job is expected to be finished; null while no instance can run it."
    )
    modelReady: IsoDatetime | None = Field(
        None,
        description="When an instance is expected to have loaded the model for the job; null while none loads"
        " it.",
    )


class DeliveryAttemptResponse(ResponseModel):
    """One attempt to deliver a webhook message."""

    at: IsoDatetime = Field(description="When the attempt was made.")
    seconds: float = Field(description="Duration of the attempt in seconds.", examples=[0.214])
    status: int | None = Field(
        description="HTTP status of the receiver; null if there was no response.", examples=[200]
    )
    error: str | None = Field(
        description="Why the attempt failed; null if it succeeded.", examples=["HTTP 500"]
    )


class JobWebhookStatus(ResponseModel):
    """Delivery status of a job's webhook. A list of jobs shows the `url` only."""

    url: str = Field(description="URL that receives the webhook.", examples=["https://example.com/webhook"])
    status: Literal["pending", "delivered", "failed", "excluded"] | None = Field(
        None,
        description="`pending` until the webhook is delivered, `failed` after the last attempt, `excluded` "
        "if the request asked for no message about the job's final status.",
        examples=["delivered"],
    )
    attempts: int | None = Field(
        None, description="Number of all attempts, also of those before a replay.", examples=[1]
    )
    deliveredAt: IsoDatetime | None = Field(None, description="When it was delivered; null before.")
    error: str | None = Field(None, description="Error of the last attempt, if it failed.")
    history: list[DeliveryAttemptResponse] | None = Field(None, description="All attempts, oldest first.")


class JobFields(ResponseModel):
    """A job without prices in credits."""

    jobId: str = Field(description="Id of the job.", examples=[_EXAMPLE_JOB_ID])
    status: JobStatusName = Field(description="State of the job.", examples=["completed"])
    model: str = Field(description="The model, by the name that was asked for.", examples=["flux-1-schnell"])
    warnings: list[str] = Field(
        description="What of the request had no effect, in sentences.",
        examples=[["`user` has no effect"]],
    )
    output: dict[str, list[str]] = Field(
        description="URLs of the files by kind (`images`, `videos`, `audio`, `files`); empty until the job "
        "has completed.",
        examples=[{"images": [_EXAMPLE_URL]}],
    )
    assets: list[OutputAsset] = Field(
        description="The results with type and size, in the order of their seeds."
    )
    params: dict[str, Any] = Field(
        description="Parameters of the model after defaults were applied, without input files.",
        examples=[{"prompt": "A lighthouse at dawn, oil painting", "width": 1024, "height": 1024, "seed": 7}],
    )
    shards: ShardCounts = Field(description="Progress by shards.")
    costUsd: float = Field(
        description="Amount charged in US dollars; 0 unless the job has completed.", examples=[0.003]
    )
    costCents: float = Field(
        description="Amount charged in US cents; 0 unless the job has completed.", examples=[0.3]
    )
    simulated: bool = Field(description="Whether a simulator made the result.", examples=[False])
    error: JobErrorDetails | None = Field(description="Why the job failed; null otherwise.", examples=[None])
    createdAt: IsoDatetime = Field(description="When the job was created.")
    startedAt: IsoDatetime | None = Field(description="When its first shard started; null before.")
    finishedAt: IsoDatetime | None = Field(description="When it reached its final status; null before.")
    expiresAt: str | None = Field(
        description="When the job and its files are deleted; null before it is finished.",
        examples=["2026-02-07T12:00:00Z"],
    )
    webhook: JobWebhookStatus | None = Field(description="Its webhook; null if it has none.")


class JobResponse(JobFields):
    """A job, whatever dialect created it."""

    creditCost: JsonNumber = Field(description="Price in PixelDojo credits.", examples=[1])
    queue: QueuePositionResponse | None = Field(
        None,
        description="Position in the queue; null once the job is finished. Only in `GET /api/v1/jobs/{id}`.",
    )


class JobListResponse(ResponseModel):
    """A page of jobs, newest first."""

    jobs: list[JobResponse] = Field(description="The jobs.")
    nextCursor: str | None = Field(
        description="Pass it as `cursor` to get the next page; null on the last page.",
        examples=[_EXAMPLE_JOB_ID],
    )


@dataclass(frozen=True, slots=True)
class JobResponseBuilder:
    """Builds `JobResponse` bodies with fresh URLs of outputs."""

    delivery: OutputDelivery
    #: Returns the value of a PixelDojo credit in micro-dollars, by today's price list.
    credit_micros: Callable[[], Fraction]

    def build(self, record: JobRecord, request: web.Request | None) -> JobResponse:
        """Return a job as lists, webhooks (without a request) and live events show it."""
        credits = to_credits(charged_micros(record.job), self.credit_micros())
        return JobResponse(
            **job_field_values(record, self.delivery, request), creditCost=to_json_number(credits)
        )


def to_job_fields(record: JobRecord, delivery: OutputDelivery, request: web.Request) -> JobFields:
    """Return a job without its price in credits."""
    return JobFields(**job_field_values(record, delivery, request))


def to_queue_position_response(queue_position: QueuePosition) -> QueuePositionResponse:
    """Return the position of an unfinished job."""
    return QueuePositionResponse(
        position=queue_position.position,
        estimatedFinish=queue_position.expected_finish,
        modelReady=queue_position.model_loaded,
    )


def to_job_webhook_status(job: Job, message: WebhookMessage | None) -> JobWebhookStatus | None:
    """Return the delivery status of a job's webhook; None for a job without one.

    `message` is None until the job is finished, and if its request asked for none about its final status.
    """
    if message is not None:
        return to_delivery_status(message)
    if job.webhook_url is None:
        return None
    return JobWebhookStatus(
        url=job.webhook_url,
        status="excluded" if job.is_webhook_excluded else "pending",
        attempts=0,
        deliveredAt=None,
        error=None,
        history=[],
    )


def to_delivery_status(message: WebhookMessage) -> JobWebhookStatus:
    """Return the delivery status of a message with its delivery attempts."""
    final: Literal["delivered", "failed"] = "delivered" if message.delivered_at else "failed"
    return JobWebhookStatus(
        url=message.url or "",
        status="pending" if message.due_at is not None else final,
        attempts=message.total_attempts,
        deliveredAt=message.delivered_at,
        error=message.error,
        history=to_attempt_history(message.delivery_attempts),
    )


def to_attempt_history(attempts: Sequence[DeliveryAttempt]) -> list[DeliveryAttemptResponse]:
    """Return all attempts to deliver a message, oldest first."""
    return [
        DeliveryAttemptResponse(
            at=attempt.at,
            seconds=round(attempt.seconds, 3),
            status=attempt.http_status,
            error=attempt.error,
        )
        for attempt in attempts
    ]


def job_field_values(
    record: JobRecord, delivery: OutputDelivery, request: web.Request | None
) -> dict[str, Any]:
    """Return the values of `JobFields`, for the models that add some."""
    job, expiry = record.job, delivery.expiry
    succeeded = job.status is JobStatus.SUCCEEDED
    available = record.outputs if succeeded and not expiry.is_expired(job) else ()
    assets = [_to_asset(output, delivery.url_of(job.id, output.key, request)) for output in available]
    output: dict[str, list[str]] = {}
    for asset in assets:
        output.setdefault(_output_group(asset.contentType), []).append(asset.url)
    expires_at = expiry.expires_at(job)
    statuses = Counter(shard.status for shard in record.shards)
    done, cancelled = statuses[ShardStatus.SUCCEEDED], statuses[ShardStatus.CANCELLED]
    return {
        "jobId": job.id,
        "status": JOB_STATUS_NAMES[job.status],
        "model": job.shown_model,
        "warnings": list(job.warnings),
        "output": output,
        "assets": assets,
        "params": {
            name: value
            for name, value in job.params.items()
            if name not in _HIDDEN_PARAMS and not _is_input_object_key(value)
        },
        "shards": ShardCounts(total=len(record.shards), done=done, cancelled=cancelled),
        "costUsd": to_usd(job.price) if succeeded else 0.0,
        "costCents": to_cents(job.price) if succeeded else 0.0,
        "simulated": record.is_simulated,
        "error": JobErrorDetails(code=job.error.code, message=job.error.message) if job.error else None,
        "createdAt": job.created_at,
        "startedAt": job.started_at,
        "finishedAt": job.finished_at,
        "expiresAt": format_utc(expires_at) if expires_at else None,
        "webhook": JobWebhookStatus(url=job.webhook_url) if job.webhook_url else None,
    }


def _to_asset(output: Output, url: str) -> OutputAsset:
    return OutputAsset(
        url=url,
        contentType=output.content_type,
        width=output.width,
        height=output.height,
        bytes=output.size,
        **video_length(output),
    )


def _output_group(content_type: str) -> str:
    return _OUTPUT_GROUPS.get(content_type.partition("/")[0], "files")


def _is_input_object_key(value: object) -> bool:
    """Return whether a parameter is an uploaded input file, whose object key callers must not see."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, str) and first.startswith(INPUT_PREFIX) and is_job_object(first)
